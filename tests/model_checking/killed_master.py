"""A master of shipped parts alone, with a real disk, whose threads are stepped and which may be killed at any write.

It is killed as a process is: what it wrote is there, whether it was synced or not.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, cast
from unittest.mock import patch

from fedtier.entries import Counted, Entry
from fedtier.rounds import Contributor, RoundPlan
from fedtier.serving.statedir import StateDirectory
from fedtier.store import RoundStore
from master_aggregator.aggregator import MasterAggregator, Surroundings
from master_aggregator.coordinator import Offered
from master_aggregator.journal import Journal
from master_aggregator.metrics import MasterMetrics
from master_aggregator.opening import OpenRound
from tests.model_checking.stored_rounds import StoredRounds
from tests.model_checking.surroundings import rules_of

_start = threading.Thread.start


def _start_what_ends(thread: threading.Thread) -> None:
    """Start a thread that does a piece of work; those of the master itself, which go on for ever, are stepped."""
    if not thread.daemon:
        _start(thread)


class Killed(BaseException):
    """The process ends here, whatever it is about to do."""


class Instants:
    """The points of a process's life at which it may be killed: all `fsync`, and all writes to S3."""

    def __init__(self) -> None:
        self.left: int | None = None

    def pass_one(self) -> None:
        if self.left is None:
            return
        if self.left == 0:
            self.left = None
            raise Killed
        self.left -= 1

    def sync(self, descriptor: int) -> None:
        """Stand for `os.fsync`, which a kill does not need."""
        self.pass_one()


class KilledMaster:
    """A master between its start and its end.

    Parameters
    ----------
    folder : Path
        Its state directory.
    store : StoredRounds
    clock : callable
    threshold : int
    """

    def __init__(self, folder: Path, store: StoredRounds, clock: Callable[[], datetime], threshold: int) -> None:
        self.state = StateDirectory(folder)
        self.state.clear_spool()
        around = Surroundings(clock=clock, rng=random.Random(0), die=_die, finished=lambda: None)
        self.tier = MasterAggregator(cast(RoundStore, store), self.state, rules_of(threshold), MasterMetrics(), around)
        try:
            with patch("threading.Thread.start", _start_what_ends):
                self.tier.start()
        except BaseException:
            self.end()
            raise

    @property
    def opened(self) -> OpenRound:
        """The open round."""
        assert self.tier._opened is not None
        return self.tier._opened

    @property
    def plan(self) -> RoundPlan:
        return self.opened.plan

    @property
    def collects(self) -> bool:
        """Whether the round takes anything."""
        return self.tier.status().state == "collecting"

    @property
    def counted(self) -> Mapping[str, Contributor]:
        """Who is counted, by client."""
        return self.tier._core._counted

    def end(self) -> None:
        """Give the state directory back, as the system does for a process that is no more."""
        self.state.close()

    def offer(self, entries: Iterable[Entry]) -> dict[int, Entry]:
        """Offer entries together, and return them by their tickets."""
        offered = {self.tier._waiting.enter(): entry for entry in entries}
        for ticket, entry in offered.items():
            self.tier._tell(Offered(ticket, entry))
        return offered

    def answer(self, ticket: int) -> Counted | None:
        """Return the 200 that a ticket's upload got, if it did."""
        outcome = self.tier._waiting._waiters[ticket].outcome
        return outcome if isinstance(outcome, Counted) else None

    def record(self) -> None:
        """Have the recorder do what is queued, together."""
        group = _drained(self.tier._recorder._work)
        if group:
            self.tier._recorder._record(group[0][0], [record for _, record in group])

    def make_snapshot(self) -> None:
        """Have the recorder do as if the entries took more disk than they are worth."""
        with patch.object(Journal, "wants_snapshot", lambda *_: True):
            self.tier._recorder._snapshot(self.opened)

    def publish(self) -> None:
        """Have the publisher do what is queued, one after the other, and the copy renewed."""
        for opened, work in _drained(self.tier._publisher._work):
            self.tier._publisher.publish(opened, work)
        if self.tier._copies.wanted():
            self.tier._copies.keep()


def _drained(work: queue.SimpleQueue[Any]) -> list[Any]:
    taken = []
    while not work.empty():
        taken.append(work.get())
    return taken


def _die(reason: str) -> NoReturn:
    raise Killed(reason)
