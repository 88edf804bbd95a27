"""The thread that makes entries durable, and then adds them to the sum.

Entries that arrive while one write runs are written together with the next.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, NoReturn

import structlog

from fedtier.crash_points import CrashPoint, reach
from fedtier.entries import Entry, add_entry
from fedtier.logs import named
from fedtier.problems import Problem
from fedtier.serving.statedir import StateDirectory
from master_aggregator.coordinator import Event, NotRecorded, Record, Recorded
from master_aggregator.metrics import MasterMetrics
from master_aggregator.opening import OpenRound
from master_aggregator.records import Damaged

_LARGEST_GROUP: Final = 64


class Recorder:
    """Writes the journal of the open round.

    Parameters
    ----------
    state : StateDirectory
    tell : callable
        Takes events for the core.
    metrics : MasterMetrics
    die : callable
        Ends the process with a sentence.
    """

    def __init__(
        self,
        state: StateDirectory,
        tell: Callable[[Event], None],
        metrics: MasterMetrics,
        die: Callable[[str], NoReturn],
    ) -> None:
        self._state = state
        self._metrics = metrics
        self._tell = tell
        self._die = die
        self._work: queue.SimpleQueue[tuple[OpenRound, Record]] = queue.SimpleQueue()
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="recorder", daemon=True).start()

    def put(self, opened: OpenRound, record: Record) -> None:
        """Queue an entry of the open round; returns at once."""
        self._work.put((opened, record))

    def _run(self) -> None:
        while True:
            opened, record = self._work.get()
            group = [record]
            while len(group) < _LARGEST_GROUP and not self._work.empty():
                # A round closes only when its entries are recorded, so all of a group are of one round.
                group.append(self._work.get()[1])
            self._record(opened, group)

    def _record(self, opened: OpenRound, group: list[Record]) -> None:
        tickets = tuple(record.ticket for record in group)
        log = self._log.bind(round=opened.plan.round, attempt=opened.plan.attempt)
        clients = named(client_id for record in group for client_id in record.entry.client_ids)
        try:
            with self._metrics.journal_write.time():
                entries = opened.journal.append(record.entry for record in group)
        except OSError as error:
            log.error("entries could not be journaled", reason=str(error), entries=len(group), **clients)
            opened.journal.require_there()
            self._tell(NotRecorded(tickets, self._state.refuse(error, wanted=opened.plan.sums.nbytes)))
            return
        finally:
            for record in group:  # in the journal now, or gone
                self._state.let_go(record.entry.body.path)
        reach(CrashPoint.ENTRIES_JOURNALED, opened.plan.round)
        try:
            for entry in entries:
                self._add(opened, entry)
        except (OSError, Problem) as error:
            self._die(f"a journaled entry could not be added to the sum ({error}); start again to replay the journal")
        self._metrics.counted(clients["contributors"])
        log.info("counted", **clients, examples=sum(entry.total_weight for entry in entries), entries=len(entries))
        self._snapshot(opened)
        reach(CrashPoint.ENTRIES_ADDED, opened.plan.round)
        self._tell(Recorded(tickets))

    def _add(self, opened: OpenRound, entry: Entry) -> None:
        with self._metrics.fold.time():
            add_entry(opened.total, entry)
        if entry.kind == "partial":
            self._metrics.partial(len(entry.contributors), entry.body.path.stat().st_size)

    def _snapshot(self, opened: OpenRound) -> None:
        """Bound the journal's disk; before the entries are counted, so that no round closes meanwhile."""
        if not opened.journal.wants_snapshot(opened.plan.sums.nbytes):
            return
        try:
            opened.journal.snapshot(opened.total)
        except (OSError, Damaged) as error:
            plan = opened.plan
            self._log.warning("no snapshot could be written", round=plan.round, attempt=plan.attempt, reason=str(error))
