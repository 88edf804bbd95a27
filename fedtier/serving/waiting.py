"""Where uploads wait until the core says what became of them."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass

from fedtier.entries import Counted, Outcome
from fedtier.problems import Problem, Unavailable


@dataclass(slots=True)
class _Waiter:
    done: threading.Event
    outcome: Outcome | None = None


class WaitingRoom:
    """Hands out tickets, and keeps whoever holds one until its outcome is there."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiters: dict[int, _Waiter] = {}

    def enter(self) -> int:
        """Return a new ticket."""
        ticket = next(self._numbers)
        self._waiters[ticket] = _Waiter(threading.Event())
        return ticket

    def settle(self, ticket: int, outcome: Outcome) -> None:
        """Say what became of a ticket; nobody may be waiting any more."""
        waiter = self._waiters.get(ticket)
        if waiter is not None:
            waiter.outcome = outcome
            waiter.done.set()

    def wait(self, ticket: int, seconds: float) -> Counted:
        """Return when the ticket's entry is counted.

        Raises
        ------
        Problem
            Why it is not, or `Unavailable` when the time is over: its fate is open then.
        """
        waiter = self._waiters[ticket]
        waiter.done.wait(seconds)
        del self._waiters[ticket]
        if waiter.outcome is None:
            raise Unavailable("no answer yet; send again to go on waiting", retry_after=1)
        if isinstance(waiter.outcome, Problem):
            raise _again(waiter.outcome)
        return waiter.outcome


def _again(problem: Problem) -> Problem:
    """Return a copy to raise: several waiters may share one outcome, and a raised exception keeps its traceback."""
    copy = type(problem)(problem.detail, retry_after=problem.retry_after)
    copy.members.update(problem.members)
    return copy
