"""How far a run is, from what the master and the clients say. Pure: statuses and facts in, a picture out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtier.rounds import RoundManifest, RoundStatus


@dataclass(frozen=True, slots=True)
class Picture:
    """What there is to show of the open round.

    Parameters
    ----------
    round : int
        0 before the master said anything.
    last_round : int
    counted : int
        Clients that the master counted.
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
        self._training: dict[str, int] = {}
        self._told: dict[str, int] = {}

    def see_status(self, status: RoundStatus, now: float) -> None:
        """Take note of the master's round."""
        if status.round != self._pair[0]:
            self._since = now
        self._pair = status.pair
        self._selects = status.selects
        self._master_counted, self._threshold = status.counted, status.threshold

    def see_fact(self, members: Mapping[str, Any]) -> None:
        """Take note of what a client said."""
        client_id, number = members.get("client_id"), members.get("round")
        if not isinstance(client_id, str) or not isinstance(number, int):
            return
        if members["event"] == "training":
            self._training[client_id] = number
        elif members["event"] == "counted":
            self._told[client_id] = number

    def picture(self) -> Picture:
        """Return what there is to show now."""
        number = self._pair[0]
        told = max(number, 1)
        missing = tuple(name for name in self._clients if self._selects(name) and self._told.get(name, -1) < told)
        return Picture(
            round=number,
            last_round=self._last_round,
            counted=self._master_counted,
            threshold=self._threshold,
            training=tuple(name for name in missing if self._training.get(name) == number),
            missing=missing,
            since=self._since,
        )


def published_facts(manifest: RoundManifest) -> PublishedFacts:
    """Return what a manifest tells a person."""
    losses = [
        (contributor.num_examples, contributor.metrics["loss"])
        for contributor in manifest.contributors
        if "loss" in contributor.metrics
    ]
    weight = sum(examples for examples, _ in losses)
    return PublishedFacts(
        round=manifest.round,
        clients=len(manifest.contributors),
        examples=manifest.total_examples,
        seconds=(manifest.published_at - manifest.opened_at).total_seconds(),
        training_loss=sum(examples * loss for examples, loss in losses) / weight if weight else None,
        sha256=manifest.model.sha256,
    )
