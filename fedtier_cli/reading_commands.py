"""``fedtier rounds``, ``show`` and ``clients``: what is published, read from S3 by whoever may read there."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedtier.bucket_errors import StoreCorrupt, StoreUnavailable
from fedtier.evaluations import Evaluation
from fedtier.flags import bearer_token, command, json_flag
from fedtier.problems import Problem, StartupError
from fedtier.rounds import RoundManifest, RoundStatus
from fedtier.store import PublishedRound, RoundStore
from fedtier.upstream import Timeouts, Unreachable, Upstream
from fedtier_cli.attendance import Attendance, attendance
from fedtier_cli.processes import as_json_line
from fedtier_cli.published import Place, Published, opened, place_flags
from fedtier_cli.round_names import LAST, round_name
from fedtier_cli.round_screen import absent, mean_metric, round_screen, shown_metric
from fedtier_cli.servers import asked, server_address, server_flag
from fedtier_cli.situation import plural, round_seconds, short

_METRICS: Final = ("loss", "accuracy")
_IMPATIENT: Final = Timeouts(connect=1.0, read=5.0)


@command("rounds")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="The newest N rounds only.")
@place_flags
@json_flag
def rounds(last: int | None, place: Place, as_json: bool) -> None:
    """List the published rounds.

    Training loss and accuracy are what the clients report, weighted by their examples; test loss and accuracy are
    those of fedtier evaluate, where it was called.

    Ends with status 0 when done, 1 when S3 cannot be used or nothing is published, 2 for wrong flags.
    """
    with opened(place) as published, _sentences():
        found = list(itertools.islice(published.rounds.history(), last))[::-1]
        rows = [_round_row(one, _evaluation(published.rounds, one)) for one in found]
    _require_rounds(rows, published.rounds)
    if as_json:
        for row in rows:
            print(as_json_line(row))
        return
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    counts = ("round", "attempt", "clients", "examples", "seconds")
    for heading in (*counts, "train\nloss", "train\nacc.", "test\nloss", "test\nacc."):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for row in rows:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        metrics = [shown_metric(name, row[kind].get(name)) for kind in ("training", "test") for name in _METRICS]
        numbers = [str(row[name]) for name in ("round", "attempt", "clients", "examples")]
        table.add_row(*numbers, seconds, *metrics, short(row["model_sha256"]))
    Console(highlight=False).print(table, soft_wrap=True)


def _round_row(published: PublishedRound, evaluation: Evaluation | None) -> dict[str, Any]:
    manifest = published.manifest
    training = {name: mean_metric(manifest.contributors, name) for name in _METRICS}
    trained = manifest if isinstance(manifest, RoundManifest) else None
    return {
        "round": published.round,
        "attempt": manifest.attempt,
        "clients": len(manifest.contributors),
        "examples": manifest.total_examples,
        "seconds": None if trained is None else round_seconds(trained),
        "published_at": None if trained is None else trained.published_at.isoformat(),
        "training": {name: value for name, value in training.items() if value is not None},
        "test": {} if evaluation is None else dict(evaluation.metrics),
        "model_sha256": manifest.model.sha256,
        "manifest_sha256": published.manifest_sha256,
    }


@command("show")
@click.argument("number", metavar="ROUND|last", callback=round_name)
@click.option("--all", "everything", is_flag=True, help="Show every client instead of the first twenty.")
@place_flags
@json_flag
def show(number: int | str, everything: bool, place: Place, as_json: bool) -> None:
    """Show one published round and who is in it.

    With --json one object: round, manifest_sha256, manifest (as it lies in S3), absent (selected, but not in the
    round), evaluation (null where fedtier evaluate was not called).

    Ends with status 0 when done, 1 when S3 cannot be used or the round is not published, 2 for wrong flags.
    """
    with opened(place) as published, _sentences():
        found = _find(published.rounds, number)
        evaluation = _evaluation(published.rounds, found)
    manifest = found.manifest
    if as_json:
        document = {
            "round": found.round,
            "manifest_sha256": found.manifest_sha256,
            "manifest": json.loads(manifest.to_json()),
            "absent": absent(manifest) if isinstance(manifest, RoundManifest) else [],
            "evaluation": None if evaluation is None else json.loads(evaluation.to_json()),
        }
        print(as_json_line(document))
        return
    console = Console(highlight=False)
    for part in round_screen(found, evaluation, everything=everything):
        console.print(part)


@command("clients")
@click.option("--clients", "count", type=click.IntRange(min=1), metavar="K", help="Expect client-0 to client-(K-1).")
@place_flags
@server_flag
@json_flag
def clients(count: int | None, place: Place, server: str | None, as_json: bool) -> None:
    """Show which clients were seen, when, and which never.

    A round selects its cohort; a round without a cohort selects every client that is expected by --clients, or that
    was in it or in a round before it. "seen": the client is in the newest published round that selected it. "late":
    it is in some published round, but not in the newest one that selected it. "never seen": it was selected or
    expected, and is in no published round. "missed" counts the rounds that selected it and that it is not in. Loss
    and accuracy are what it reported in the last round that it is in.

    Where a server is known, the open round is told of too: how many clients it counted, and how many it waits for;
    who they are the server does not say.

    Ends with status 0 when done, 1 when S3 or the server that is named cannot be used, 2 for wrong flags.
    """
    expected = [f"client-{number}" for number in range(count or 0)]
    with opened(place) as published, _sentences():
        manifests = [one.manifest for one in published.rounds.history()]
        open_round = _open_round(published, server)
    records = attendance((one for one in manifests if isinstance(one, RoundManifest)), expected)
    if as_json:
        for record in records:
            print(as_json_line(_client_document(record)))
        if open_round is not None:
            print(as_json_line({"open": _open_document(open_round)}))
        return
    console = Console(highlight=False)
    console.print(_client_table(records), soft_wrap=True)
    console.print(Text(_presence_line(records)))
    if open_round is not None:
        console.print(Text(_open_words(open_round)))


def _open_round(published: Published, server: str | None) -> RoundStatus | None:
    """Return the open round of the server that was named, or of a local run's master if it runs."""
    if server is not None:
        with asked(server_address(server, None)) as upstream:
            return upstream.round_status()
    if published.federation is None or not published.federation.master:
        return None
    try:
        with Upstream(published.federation.master, token=bearer_token(), timeouts=_IMPATIENT) as upstream:
            return upstream.round_status()
    except (Unreachable, Problem):
        return None  # the run has ended


def _client_document(record: Attendance) -> dict[str, Any]:
    last = record.last
    return {
        "client_id": record.client_id,
        "state": record.presence,
        "rounds": record.rounds,
        "last_round": record.last_round,
        "selected": record.selected,
        "missed": list(record.missed),
        "examples": None if last is None else last.num_examples,
        "metrics": {} if last is None else dict(last.metrics),
    }


def _client_table(records: Sequence[Attendance]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("client", overflow="fold")
    table.add_column("state", no_wrap=True)
    for heading in ("rounds", "last", "selected", "missed", "examples", "loss", "accuracy"):
        table.add_column(heading, justify="right", no_wrap=True)
    styles = {"seen": "green", "late": "yellow", "never seen": "red"}
    for record in records:
        last = record.last
        table.add_row(
            record.client_id,
            Text(record.presence, style=styles[record.presence]),
            str(record.rounds),
            "" if record.last_round is None else str(record.last_round),
            str(record.selected),
            str(len(record.missed)),
            "" if last is None else str(last.num_examples),
            *(shown_metric(name, None if last is None else last.metrics.get(name)) for name in _METRICS),
        )
    return table


def _presence_line(records: Sequence[Attendance]) -> str:
    if not records:
        return "no client was seen or selected yet; --clients K says how many are expected"
    words = ("seen", "late", "never seen")
    return ", ".join(f"{sum(one.presence == word for one in records)} {word}" for word in words)


def _open_document(status: RoundStatus) -> dict[str, Any]:
    document = status.model_dump(include={"round", "attempt", "state", "counted", "threshold"})
    return {**document, "cohort": None if status.cohort is None else list(status.cohort)}


def _open_words(status: RoundStatus) -> str:
    if status.state == "finished":
        return f"the federation is finished: round {status.base.round} is the last"
    words = f"round {status.round} is {status.state}: {plural(status.counted, 'client')} counted"
    waiting = max(status.threshold - status.counted, 0)
    return f"{words}, {waiting} more to wait for" if waiting else words


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what S3 does into a sentence.

    Raises
    ------
    StartupError
    """
    try:
        yield
    except (StoreUnavailable, StoreCorrupt) as error:
        raise StartupError(str(error)) from None


def _find(store: RoundStore, number: int | str) -> PublishedRound:
    newest: int | None = None
    for published in store.history():
        newest = published.round if newest is None else newest
        if number in (LAST, published.round):
            return published
        if isinstance(number, int) and published.round < number:
            break
    _require_rounds([newest] if newest is not None else [], store)
    raise StartupError(f"round {number} is not published; the newest is {newest}")


def _require_rounds(found: Sequence[object], store: RoundStore) -> None:
    if not found:
        raise StartupError(f"nothing is published at {store.keys.prefix} yet; check --bucket-name and --bucket-key")


def _evaluation(store: RoundStore, published: PublishedRound) -> Evaluation | None:
    return store.read_evaluation(published.round, published.manifest.model.sha256)
