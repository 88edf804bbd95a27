"""The thread that keeps the copy of the newest model at the bucket key, out of the way of what is urgent.

Right after a round is published everyone fetches its model, and the next round must
not wait for a file that no round needs. So a copy is begun a little later, and rounds
that follow each other faster than that share one. Nothing waits for it but the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from fedtier.crash_points import CrashPoint, reach
from fedtier.problems import Problem
from fedtier.rounds import BaseRound, RoundPlan
from fedtier.store import RoundStore, StoreCorrupt
from master_aggregator.insisting import Insistence
from master_aggregator.opening import Workshop

BYTES_PER_SECOND: Final = 20e6
"""So long after its round was published a copy is begun: a large one after seconds, a small one nearly at once."""


class CopyKeeper:
    """Renews the copy, always to the newest model it was told of.

    Parameters
    ----------
    store : RoundStore
    workshop : Workshop
    insistence : Insistence
    finished : callable
        Is told once the copy is of the last round's model.
    """

    def __init__(
        self, store: RoundStore, workshop: Workshop, insistence: Insistence, finished: Callable[[], None]
    ) -> None:
        self._store = store
        self._workshop = workshop
        self._insistence = insistence
        self._finished = finished
        self._changed = threading.Condition()
        self._wanted: RoundPlan | None = None
        self._begun: RoundPlan | None = None
        self._stuck = False
        self._hurry = False

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="copies", daemon=True).start()

    def want(self, plan: RoundPlan) -> None:
        """Ask for a copy of the model that a round starts from; returns at once."""
        with self._changed:
            self._wanted = plan
            self._changed.notify_all()

    def wanted(self) -> bool:
        """Return whether a copy is asked for that is not begun."""
        return self._wanted is not None

    def trouble(self) -> str | None:
        """Return why the copy cannot be written, or None."""
        return self._insistence.trouble()

    def finish(self, seconds: float) -> None:
        """Write what is asked for without delay, and wait so long for it; the next start does what is left."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(self._is_done_or_stuck, seconds)

    def keep(self) -> None:
        """Wait until a copy is asked for and due, and write it."""
        plan = self._insistence.insist(self._take(), self._copy_newest)
        reach(CrashPoint.COPY_WRITTEN, plan.base.round)
        with self._changed:
            self._begun, self._stuck = None, False
            self._changed.notify_all()
        if plan.finished:
            self._finished()

    def _run(self) -> None:
        while True:
            try:
                self.keep()
            except (Problem, StoreCorrupt) as error:
                self._workshop.die(f"the copy of the newest model cannot be written: {error}")

    def _take(self) -> RoundPlan:
        with self._changed:
            self._changed.wait_for(self.wanted)
            assert self._wanted is not None, "waited for"
            # Not anew for a model that is newer still: the copy would fall behind.
            self._changed.wait_for(self._is_urgent, self._wanted.base.bytes / BYTES_PER_SECOND)
            return self._begin()

    def _begin(self) -> RoundPlan:
        plan = self._wanted or self._begun
        assert plan is not None, "a copy is asked for or begun"
        self._wanted, self._begun = None, plan
        return plan

    def _copy_newest(self) -> RoundPlan:
        """Try to copy what is asked for by now, and return it: while S3 is away newer models come."""
        with self._changed:
            plan = self._begin()
        self._copy(plan.base)
        return plan

    def _copy(self, base: BaseRound) -> None:
        try:
            # From the shelf anew each time: it may let go of the file while S3 is away.
            self._store.refresh_copy(base.round, base.sha256, self._workshop.shelf.path(base))
        except Exception:
            with self._changed:
                self._stuck = True
                self._changed.notify_all()
            raise

    def _is_urgent(self) -> bool:
        return self._hurry or (self._wanted is not None and self._wanted.finished)

    def _is_done_or_stuck(self) -> bool:
        return (self._wanted is None and self._begun is None) or self._stuck
