"""Log lines about refusals: summaries of refused requests, and single lines for uploads of clients that are known."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog

from fedtier.metrics import Kind
from fedtier.problems import Problem
from fedtier.serving.tally import LineBudget, Summary, Tally

_ORDINARY: Final = frozenset({"not-found", "round-over", "round-not-open", "not-selected", "already-counted"})
"""What honest programs are told as rounds come and go."""


class RefusalLog:
    """Writes them. Safe for use by several threads at once.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tally = Tally()
        self._budget = LineBudget()
        self._later: threading.Timer | None = None
        self._log = structlog.get_logger()

    def request(self, problem: Problem, address: str) -> None:
        """Take note of a request that was refused."""
        with self._lock:
            now = self._clock()
            summary = self._tally.refused(problem.name, address, problem.detail, now)
            self._plan(now)
        if summary is not None:
            self._write(summary)

    def upload(self, kind: Kind, problem: Problem, about: dict[str, object]) -> None:
        """Take note of an upload that was refused to somebody who may send it.

        Parameters
        ----------
        kind : {"update", "partial"}
        problem : Problem
        about : dict
            What names it: ``client_id`` or ``batch``, ``round`` and, where it is known, ``attempt``.
        """
        with self._lock:
            allowed = self._budget.allows((problem.name, about.get("client_id", about.get("batch"))), self._clock())
        if allowed:
            self._log.info(f"{kind} refused", reason=problem.name, detail=problem.detail[:500], **about)

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
        level = self._log.info if summary.reason in _ORDINARY else self._log.warning
        level(
            "requests refused",
            reason=summary.reason,
            number=summary.number,
            addresses=summary.addresses,
            busiest=summary.busiest,
            busiest_number=summary.busiest_number,
            example=summary.example,
        )
