"""Log lines that sum up what happens again and again: at once for the first of a reason, then seldom."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from fedtier.serving.tally import Summary, Tally


class SummaryLog:
    """Writes them. Safe for use by several threads at once.

    Parameters
    ----------
    event : str
        What happens, as the lines say it.
    clock : callable
        Monotonic seconds.
    ordinary : frozenset of str
        Reasons that are no warning.
    """

    def __init__(self, event: str, clock: Callable[[], float], *, ordinary: frozenset[str] = frozenset()) -> None:
        self._event = event
        self._clock = clock
        self._ordinary = ordinary
        self._lock = threading.Lock()
        self._tally = Tally()
        self._later: threading.Timer | None = None
        self._log = structlog.get_logger()

    def add(self, reason: str, address: str, detail: str) -> None:
        """Take note that it happened once.

        Parameters
        ----------
        reason : str
            One of a short list.
        address : str
            Of the other end.
        detail : str
        """
        with self._lock:
            now = self._clock()
            summary = self._tally.add(reason, address, detail, now)
            self._plan(now)
        if summary is not None:
            self._write(summary)

    def _plan(self, now: float) -> None:
        """Have written what is kept back, when it is time."""
        due = self._tally.next_due()
        if due is None or self._later is not None:
            return
        self._later = threading.Timer(max(due - now, 0.0), self._catch_up)
        self._later.daemon = True
        self._later.start()

    def _catch_up(self) -> None:
        with self._lock:
            self._later = None
            now = self._clock()
            summaries = self._tally.due(now)
            self._plan(now)
        for summary in summaries:
            self._write(summary)

    def _write(self, summary: Summary) -> None:
        level = self._log.info if summary.reason in self._ordinary else self._log.warning
        level(
            self._event,
            reason=summary.reason,
            number=summary.number,
            addresses=summary.addresses,
            busiest=summary.busiest,
            busiest_number=summary.busiest_number,
            example=summary.example,
        )
