"""The thread that adds up batches: it reads their entries, writes their sums, and drops files that are done with.

Work is done strictly in the order in which it was queued, so no file is dropped before a batch that holds it is made.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from fedtier.crash_points import CrashPoint, reach
from fedtier.entries import Entry, Received
from fedtier.entry_sums import EntryUnreadable
from fedtier.logs import named
from fedtier.problems import Problem, Unavailable
from fedtier.serving.statedir import OUT_OF_FILES, StateDirectory
from fedtier.sum_files import write_partial
from worker_aggregator.events import Batch, BatchRefused, DropBody, Event, LeftOut, Seal
from worker_aggregator.metrics import WorkerMetrics

Work: TypeAlias = Seal | DropBody


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A batch as a file, ready to be sent."""

    batch: Batch
    body: Received


class Sealer:
    """Runs the queue of work in a thread of its own.

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
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="sealer", daemon=True).start()

    def put(self, work: Work) -> None:
        """Queue work; returns at once."""
        self._work.put(work)

    def _run(self) -> None:
        while True:
            work = self._work.get()
            match work:
                case Seal(batch):
                    self._seal(batch)
                case DropBody(entry):
                    self._state.drop(entry.body.path)

    def _seal(self, batch: Batch) -> None:
        plan = batch.plan
        reach(CrashPoint.BATCH_BEGUN, plan.round)
        try:
            sealed = self._written(batch)
        except OSError as error:
            self._refuse(batch, self._state.refuse(error, wanted=plan.sums.nbytes))
        except Problem as problem:
            self._refuse(batch, problem)
        else:
            reach(CrashPoint.BATCH_SEALED, plan.round)
            self._send(sealed)

    def _written(self, batch: Batch) -> SealedBatch:
        """Write a batch without the entries that cannot be read."""
        entries = dict(batch.entries)
        while entries:
            try:
                with self._metrics.seal.time(), self._state.own_file(batch.plan.sums.nbytes) as path:
                    body = write_partial(batch.plan, tuple(entries.values()), path)
                return SealedBatch(Batch(batch.batch_id, batch.plan, entries), body)
            except EntryUnreadable as unreadable:
                if unreadable.error.errno in OUT_OF_FILES:  # no entry's fault, and the next would fare no better
                    raise unreadable.error from None
                ticket = next(ticket for ticket, entry in entries.items() if entry is unreadable.entry)
                self._leave_out(ticket, entries.pop(ticket), self._state.refuse(unreadable.error))
        raise Unavailable("no entry of the batch could be read", retry_after=1)

    def _leave_out(self, ticket: int, entry: Entry, problem: Problem) -> None:
        self._log.warning(
            "an entry could not be read",
            round=entry.round,
            attempt=entry.attempt,
            **named(entry.client_ids),
            reason=problem.detail,
        )
        self._tell(LeftOut(ticket, problem))

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
