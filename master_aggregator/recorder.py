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
from fedtier.entries import add_entry
from fedtier.problems import Problem
from fedtier.serving.statedir import StateDirectory
from master_aggregator.coordinator import Event, NotRecorded, Record, Recorded
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
    die : callable
        Ends the process with a sentence.
    """

    def __init__(self, state: StateDirectory, tell: Callable[[Event], None], die: Callable[[str], NoReturn]) -> None:
        self._state = state
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
        try:
            entries = opened.journal.append(record.entry for record in group)
        except OSError as error:
            self._log.error("entries could not be journaled", reason=str(error), entries=len(group))
            opened.journal.require_there()
            self._tell(NotRecorded(tickets, self._state.refuse(error, wanted=opened.plan.sums.nbytes)))
            return
        finally:
            for record in group:  # in the journal now, or gone
                self._state.let_go(record.entry.body.path)
        reach(CrashPoint.ENTRIES_JOURNALED, opened.plan.round)
        try:
            for entry in entries:
                add_entry(opened.total, entry)
        except (OSError, Problem) as error:
            self._die(f"a journaled entry could not be added to the sum ({error}); start again to replay the journal")
        for entry in entries:
            self._log.info(
                "counted",
                round=entry.round,
                attempt=entry.attempt,
                clients=sorted(entry.client_ids),
                examples=entry.total_weight,
            )
        self._snapshot(opened)
        reach(CrashPoint.ENTRIES_ADDED, opened.plan.round)
        self._tell(Recorded(tickets))

    def _snapshot(self, opened: OpenRound) -> None:
        """Bound the journal's disk; before the entries are counted, so that no round closes meanwhile."""
        if not opened.journal.wants_snapshot(opened.plan.sums.nbytes):
            return
        try:
            opened.journal.snapshot(opened.total)
        except (OSError, Damaged) as error:
            self._log.warning("no snapshot could be written", reason=str(error))
