"""How far a run is, from what the master and the clients say. Pure: statuses and facts in, a picture out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fedtier.rounds import RoundManifest, RoundStatus
from fedtier_cli.metrics import mean_metric, round_seconds

_NAMED: Final = 6


@dataclass(frozen=True, slots=True)
class Picture:
    """What there is to show of the open round.

    Parameters
    ----------
    round : int
        0 before the master said anything.
    last_round : int
    counted : int
        Clients that the master counted, as far as it or they said so.
    threshold : int
        Clients at which the round closes.
    training : tuple of str
        Clients that train now.
    missing : tuple of str
        Clients that may take part and were not told yet that they count, those that train included.
    since : float
        When the round was seen first, on the run's clock.
    """

    round: int
    last_round: int
    counted: int
    threshold: int
    training: tuple[str, ...]
    missing: tuple[str, ...]
    since: float

    @property
    def is_open(self) -> bool:
        """Whether there is an open round that the run is to reach."""
        return 0 < self.round <= self.last_round


@dataclass(frozen=True, slots=True)
class PublishedFacts:
    """What a published round's manifest tells a person.

    Parameters
    ----------
    round : int
    clients : int
    examples : int
    seconds : float
        From opening to publishing.
    training_loss : float or None
        Mean of the clients' own, weighted by their examples; None where they report none.
    sha256 : str
        Of the model.
    """

    round: int
    clients: int
    examples: int
    seconds: float
    training_loss: float | None
    sha256: str


class Progress:
    """Follows one run.

    Parameters
    ----------
    clients : sequence of str
    last_round : int
    threshold : int
    now : float
        On the run's clock, in seconds.
    """

    def __init__(self, clients: Sequence[str], *, last_round: int, threshold: int, now: float) -> None:
        self._clients = tuple(clients)
        self._last_round = last_round
        self._pair = (0, 0)
        self._master_counted = 0
        self._threshold = threshold
        self._since = now
        self._selects: Callable[[str], bool] = lambda _: True
        self._training: dict[str, tuple[int, int]] = {}
        self._told: dict[str, tuple[int, int]] = {}

    def see_status(self, status: RoundStatus, now: float) -> None:
        """Take note of the master's round."""
        if status.round != self._pair[0]:
            self._since = now
        self._pair = status.pair
        self._selects = status.selects
        self._master_counted, self._threshold = status.counted, status.threshold

    def see_fact(self, members: Mapping[str, Any]) -> None:
        """Take note of what a client said."""
        client_id, number, attempt = members.get("client_id"), members.get("round"), members.get("attempt")
        if not isinstance(client_id, str) or not isinstance(number, int) or not isinstance(attempt, int):
            return
        if members["event"] == "training":
            self._training[client_id] = (number, attempt)
        elif members["event"] == "counted":
            self._told[client_id] = (number, attempt)

    def picture(self) -> Picture:
        """Return what there is to show now."""
        now = max(self._pair, (1, 0))
        selected = [name for name in self._clients if self._selects(name)]
        missing = tuple(name for name in selected if self._told.get(name, (0, 0)) < now)
        # What a client is told, the master knows; what the master was asked last may be older.
        told = sum(self._told.get(name) == self._pair for name in selected)
        return Picture(
            round=self._pair[0],
            last_round=self._last_round,
            counted=max(self._master_counted, told),
            threshold=self._threshold,
            training=tuple(name for name in missing if self._training.get(name) == self._pair),
            missing=missing,
            since=self._since,
        )


def named(names: Sequence[str]) -> str:
    """Return names as a sentence has them, the first six and how many more: ``a, b, c, d, e, f and 94 more``."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def published_facts(manifest: RoundManifest) -> PublishedFacts:
    """Return what a manifest tells a person."""
    return PublishedFacts(
        round=manifest.round,
        clients=len(manifest.contributors),
        examples=manifest.total_examples,
        seconds=round_seconds(manifest),
        training_loss=mean_metric(manifest.contributors, "loss"),
        sha256=manifest.model.sha256,
    )
