"""How often clients are told to ask: so that their polls cost a server a bounded share of a core."""

from __future__ import annotations

from collections import deque
from typing import Final

POLLS_PER_SECOND: Final = 100.0
"""What a server answers in all; about 5 % of a core."""
FASTEST: Final = 0.02
SLOWEST: Final = 30.0


class PollPacer:
    """Turns the rate of polls into the pause that the pollers are asked for.

    With C clients asking every p seconds, C/p polls come in a second; the pacer
    counts them over its last few seconds and asks for p = C / `POLLS_PER_SECOND`,
    rounded up to a power of two times `FASTEST` so that the answer seldom changes.

    Parameters
    ----------
    now : float
        Seconds on a monotonic clock.
    window : float
        Seconds over which polls are counted, at the least.
    """

    def __init__(self, now: float, *, window: float = 2.0) -> None:
        self._window = window
        self._polls: deque[float] = deque()
        self._pace = FASTEST
        self._judged = now

    def poll(self, now: float) -> float:
        """Count one poll and return the pause to ask for, in seconds."""
        self._polls.append(now)
        span = max(self._window, 2 * self._pace)
        if now - self._judged >= span:
            while self._polls and self._polls[0] < now - span:
                self._polls.popleft()
            clients = len(self._polls) * self._pace / span
            self._pace = _step(clients / POLLS_PER_SECOND)
            self._judged = now
        return self._pace


def _step(wanted: float) -> float:
    pace = FASTEST
    while pace < wanted and pace < SLOWEST:
        pace *= 2
    return min(pace, SLOWEST)
