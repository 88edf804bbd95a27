"""The thread that owns the open sum: adds entries to it, and makes batches of it.

Work is done strictly in the order in which it was queued, so a batch holds exactly
what was folded since the one before.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from fedtier.crash_points import CrashPoint, reach
from fedtier.entries import Entry, Received, add_entry, write_partial
from fedtier.exact import ExactSum
from fedtier.kinds import SumPlan
from fedtier.logs import named
from fedtier.problems import Problem, Unavailable
from fedtier.serving.statedir import StateDirectory
from worker_aggregator.events import Batch, BatchRefused, DropBody, Event, Fold, FoldFailed, Seal, StartSum
from worker_aggregator.metrics import WorkerMetrics

Work: TypeAlias = StartSum | Fold | Seal | DropBody


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A batch as a file, ready to be sent."""

    batch: Batch
    body: Received


class Folder:
    """Runs the queue of work on the open sum in a thread of its own.

    Parameters
    ----------
    state : StateDirectory
        Where batches are written.
    send : callable
        Takes a sealed batch.
    tell : callable
        Takes events for the core.
    metrics : WorkerMetrics
    """

    def __init__(
        self,
        state: StateDirectory,
        send: Callable[[SealedBatch], None],
        tell: Callable[[Event], None],
        metrics: WorkerMetrics,
    ) -> None:
        self._state = state
        self._metrics = metrics
        self._send = send
        self._tell = tell
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._sum: ExactSum | None = None
        self._failed: set[int] = set()
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="folder", daemon=True).start()

    def put(self, work: Work) -> None:
        """Queue work; returns at once."""
        self._work.put(work)

    def _run(self) -> None:
        while True:
            work = self._work.get()
            match work:
                case StartSum(plan):
                    self._start_sum(plan.sums)
                case Fold(ticket, entry):
                    self._fold(ticket, entry)
                case Seal(batch):
                    self._seal(batch)
                case DropBody(entry):
                    self._state.drop(entry.body.path)

    def _start_sum(self, plan: SumPlan) -> None:
        if self._sum is None:
            self._sum = ExactSum(plan)
        self._sum.clear(plan)
        self._failed.clear()

    def _fold(self, ticket: int, entry: Entry) -> None:
        assert self._sum is not None, "the core starts a sum before it folds into it"
        try:
            with self._metrics.fold.time():
                add_entry(self._sum, entry)
        except OSError as error:
            self._fail(ticket, entry, self._state.refuse(error))
        except Problem as problem:
            self._fail(ticket, entry, problem)
        else:
            reach(CrashPoint.ENTRY_FOLDED, entry.round)

    def _fail(self, ticket: int, entry: Entry, problem: Problem) -> None:
        self._failed.add(ticket)
        self._log.warning(
            "an entry could not be folded",
            round=entry.round,
            attempt=entry.attempt,
            **named(entry.client_ids),
            reason=problem.detail,
        )
        self._tell(FoldFailed(ticket, problem))

    def _seal(self, batch: Batch) -> None:
        assert self._sum is not None, "the core starts a sum before it seals it"
        entries = {ticket: entry for ticket, entry in batch.entries.items() if ticket not in self._failed}
        self._failed.clear()
        try:
            if not entries:
                raise Unavailable("no entry of the batch could be folded", retry_after=1)
            with self._metrics.seal.time(), self._state.own_file(batch.plan.sums.nbytes) as path:
                body = write_partial(self._sum, entries.values(), batch.plan.attempt, path)
        except OSError as error:
            self._refuse(batch, self._state.refuse(error, wanted=batch.plan.sums.nbytes))
        except Problem as problem:
            self._refuse(batch, problem)
        else:
            reach(CrashPoint.BATCH_SEALED, batch.plan.round)
            self._send(SealedBatch(Batch(batch.batch_id, batch.plan, entries), body))
        finally:
            self._sum.clear()

    def _refuse(self, batch: Batch, problem: Problem) -> None:
        plan = batch.plan
        self._log.warning(
            "a batch could not be made",
            round=plan.round,
            attempt=plan.attempt,
            batch=batch.batch_id,
            reason=problem.detail,
        )
        self._tell(BatchRefused(problem))
