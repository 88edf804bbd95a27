"""How the open round stands, for a person and as a document. Pure: a server's answers in, words out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from fedtier.plain_text import printable
from fedtier.rounds import ClientSettings, Manifest, RoundManifest, RoundStatus
from fedtier_cli.metrics import round_seconds

_BAR: Final = 20
_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Situation:
    """What a server says of its federation.

    Parameters
    ----------
    server : str
        Its address.
    status : RoundStatus
        The open round.
    unready : str or None
        Why the server cannot take work.
    newest : Manifest or None
        Of the newest published round; None where the server cannot get it now.
    now : datetime
        When it was asked, with its zone.
    """

    server: str
    status: RoundStatus
    unready: str | None
    newest: Manifest | None
    now: datetime

    @property
    def obstacle(self) -> str | None:
        """Why the round cannot get on as things are, or None."""
        status = self.status
        if status.state == "finished":
            return None
        if self.unready is not None:
            return self.unready
        if status.state == "paused":
            return "the master is paused; fedtier resume goes on"
        selected = None if status.cohort is None else len(status.cohort)
        needed = status.threshold if status.deadline is None else min(status.min_clients, status.threshold)
        if status.state == "collecting" and selected is not None and selected < needed:
            return f"the round needs {needed} clients, but selects {selected}; fedtier close ends it with what is there"
        return None

    @property
    def deadline_left(self) -> float | None:
        """Seconds until the deadline, negative when it has passed; None without one."""
        return None if self.status.deadline is None else (self.status.deadline - self.now).total_seconds()

    @property
    def missing(self) -> int:
        """How many clients a round that is past its deadline stays open for; 0 while it does not."""
        left, status = self.deadline_left, self.status
        if left is None or left > 0 or status.state not in {"collecting", "paused"}:
            return 0
        return max(min(status.min_clients, status.threshold) - status.counted, 0)

    @property
    def changing(self) -> tuple[object, ...]:
        """What a watcher is told of when it is another."""
        status = self.status
        return (*status.pair, status.state, status.counted, status.threshold, self.missing, self.unready)

    def document(self) -> dict[str, Any]:
        """Return everything as what becomes one JSON object."""
        status = self.status
        return {
            "server": self.server,
            "ready": self.unready is None,
            "obstacle": self.obstacle,
            "round": status.round,
            "attempt": status.attempt,
            "state": status.state,
            "counted": status.counted,
            "threshold": status.threshold,
            "min_clients": status.min_clients,
            "deadline": None if status.deadline is None else status.deadline.isoformat(),
            "deadline_left": self.deadline_left,
            "stays_open_for": self.missing,
            "cohort_size": None if status.cohort is None else len(status.cohort),
            "final_round": status.final_round,
            "base": {"round": status.base.round, "sha256": status.base.sha256, "bytes": status.base.bytes},
            "client": status.client.model_dump(),
            "newest": None if self.newest is None else _newest_document(self.newest),
        }


def _newest_document(manifest: Manifest) -> dict[str, Any]:
    document: dict[str, Any] = {
        "round": manifest.round,
        "clients": len(manifest.contributors),
        "examples": manifest.total_examples,
        "sha256": manifest.model.sha256,
    }
    if isinstance(manifest, RoundManifest):
        document |= {"published_at": manifest.published_at.isoformat(), "seconds": round_seconds(manifest)}
    return document


def situation_table(situation: Situation) -> Table:
    """Return the picture of a situation: one fact a line."""
    status = situation.status
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    if status.state == "finished":
        table.add_row("state", Text(f"finished, round {status.base.round} is the last"))
    else:
        _add_open_round(table, situation)
    base = status.base
    table.add_row("base", Text(f"round {base.round}, {short(base.sha256)}, {size(base.bytes)}"))
    if situation.newest is not None:
        table.add_row("newest", Text(_newest_words(situation.newest)))
    ready = "is ready" if situation.unready is None else f"is not ready: {situation.unready}"
    table.add_row("server", Text(printable(f"{situation.server} {ready}")))
    if situation.obstacle is not None and situation.obstacle != situation.unready:
        table.add_row("stuck", Text(printable(situation.obstacle)))
    return table


def _add_open_round(table: Table, situation: Situation) -> None:
    status = situation.status
    last = "" if status.final_round is None else f" of {status.final_round}"
    table.add_row(f"round {status.round}{last}", Text(f"{status.state}, attempt {status.attempt}"))
    table.add_row("counted", Text(f"{bar(status.counted, status.threshold)} {_quorum(status)}"))
    if situation.deadline_left is not None and status.deadline is not None:
        table.add_row(
            "deadline", Text(f"{moment(status.deadline)}, {_deadline(situation.deadline_left, situation.missing)}")
        )
    if status.cohort is not None:
        table.add_row("cohort", Text(plural(len(status.cohort), "client")))
    table.add_row("training", Text(settings_words(status.client)))


def situation_line(situation: Situation) -> str:
    """Return a situation as one line, for logs and pipes."""
    status = situation.status
    if status.state == "finished":
        return f"finished: round {status.base.round} is the last, {short(status.base.sha256)}"
    line = f"round {status.round} attempt {status.attempt} {status.state}: {_quorum(status)}"
    if situation.missing:
        line = f"{line}; its deadline passed, it stays open for {situation.missing} more"
    return line if situation.obstacle is None else f"{line}; {printable(situation.obstacle)}"


def _quorum(status: RoundStatus) -> str:
    words = f"{status.counted} of {plural(status.threshold, 'client')} counted"
    if status.deadline is None or status.min_clients >= status.threshold:
        return words
    return f"{words}, at least {status.min_clients} at the deadline"


def _deadline(left: float, missing: int) -> str:
    if left >= 0:
        return f"{duration(left)} left"
    passed = f"passed {duration(-left)} ago"
    return f"{passed}; stays open for {missing} more" if missing else passed


def _newest_words(manifest: Manifest) -> str:
    if not isinstance(manifest, RoundManifest):
        return "round 0, the initial model"
    who = f"{plural(len(manifest.contributors), 'client')}, {plural(manifest.total_examples, 'example')}"
    when = moment(manifest.published_at)
    return f"round {manifest.round} at {when}, {who}, {duration(round_seconds(manifest))}"


def settings_words(settings: ClientSettings) -> str:
    """Return how clients train, without what changes nothing."""
    words = [
        plural(settings.epochs, "epoch"),
        f"batches of {settings.batch_size}",
        f"{settings.optimizer} lr {settings.lr:g}",
    ]
    if settings.optimizer == "sgd" and settings.momentum:
        words.append(f"momentum {settings.momentum:g}")
    if settings.weight_decay:
        words.append(f"weight decay {settings.weight_decay:g}")
    if settings.prox_mu:
        words.append(f"FedProx mu {settings.prox_mu:g}")
    return ", ".join(words)


def bar(done: int, whole: int) -> str:
    """Return a bar of plain characters."""
    filled = min(done, whole) * _BAR // max(whole, 1)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}]"


def short(sha256: str) -> str:
    """Return a digest's first digits."""
    return sha256[:_DIGITS]


def moment(time: datetime) -> str:
    """Return a time to the second, in UTC."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def plural(count: int, noun: str) -> str:
    """Return ``1 client`` or ``2 clients``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: int) -> str:
    """Return bytes in the unit that people read."""
    number = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{number:.1f} {unit}"


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``17.3 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
