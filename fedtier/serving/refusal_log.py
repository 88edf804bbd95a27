"""Log lines about refusals: summaries of refused requests, and single lines for uploads of clients that are known."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog

from fedtier.metrics import Kind
from fedtier.problems import Problem
from fedtier.serving.summary_log import SummaryLog
from fedtier.serving.tally import LineBudget

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
        self._requests = SummaryLog("requests refused", clock, ordinary=_ORDINARY)
        self._lock = threading.Lock()
        self._budget = LineBudget()
        self._log = structlog.get_logger()

    def request(self, problem: Problem, address: str) -> None:
        """Take note of a request that was refused."""
        self._requests.add(problem.name, address, problem.detail)

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
