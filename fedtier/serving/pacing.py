"""How often clients are told to ask: so that their polls cost a server a bounded share of a core."""

from __future__ import annotations

from collections import deque
from typing import Final

POLLS_PER_SECOND: Final = 100.0
"""What a server answers in all, but for `EAGERNESS`; docs/scaling.md has what each costs."""
FASTEST: Final = 0.02
SLOWEST: Final = 30.0
EAGERNESS: Final = 4.0
"""How many times as often is asked while the next round is about to open."""
EAGER_SECONDS: Final = 30.0
"""So long a round may be about to open; from then on it waits for something, as a rule for S3."""
UNHURRIED: Final = 4e-9
"""Seconds to wait per byte of the model: a round of large models takes long, and polls would only slow it down."""
SHARE: Final = 0.01
"""Part of the time since a round opened, as seconds to wait: about as much longer it may last for that."""
LONGEST_UNHURRIED: Final = 1.28


class PollPacer:
    """Turns the rate of polls into the pause that the pollers are asked for.

    Whoever was told to wait p seconds stands for p seconds of one client, so those
    told within a span, added up, are the clients C times the span. The pacer counts
    over its last few seconds and asks for p = C / `POLLS_PER_SECOND`, or longer for a large model and in a long
    round, rounded up to a power of two times `FASTEST` so that the answer seldom changes.

    Parameters
    ----------
    now : float
        Seconds on a monotonic clock.
    window : float
        Seconds over which polls are counted, at the least.
    """

    def __init__(self, now: float, *, window: float = 2.0) -> None:
        self._window = window
        self._polls: deque[tuple[float, float]] = deque()
        self._pace = FASTEST
        self._judged = now

    def pace(self, now: float, *, model_bytes: int = 0, age: float = 0.0, eager: bool = False) -> float:
        """Return the pause to ask for, in seconds.

        Parameters
        ----------
        now : float
        model_bytes : int
            Of the model that the round starts from.
        age : float
            Seconds since the round opened.
        eager : bool
            The next round is about to open.
        """
        span = max(self._window, 2 * self._pace)
        if now - self._judged >= span:
            while self._polls and self._polls[0][0] < now - span:
                self._polls.popleft()
            clients = sum(pause for _, pause in self._polls) / span
            self._pace = _step(clients / POLLS_PER_SECOND)
            self._judged = now
        unhurried = max(UNHURRIED * model_bytes, SHARE * age)
        pace = _step(max(self._pace, min(unhurried, LONGEST_UNHURRIED)))
        if eager:
            pace = max(FASTEST, pace / EAGERNESS)
        return pace

    def told(self, now: float, pace: float) -> None:
        """Count one who was asked to wait so many seconds."""
        self._polls.append((now, pace))


class Eagerness:
    """Whether the next round is about to open, by the states that were shown and when they changed."""

    def __init__(self) -> None:
        self._state = ""
        self._since = 0.0

    def look(self, now: float, state: str) -> bool:
        """Take note of the state that is shown now, and return whether the next round is about to open.

        Parameters
        ----------
        now : float
            Seconds on a monotonic clock.
        state : str
            Of the round, as `fedtier.rounds.RoundStatus` has it.
        """
        if state != self._state:
            self._state, self._since = state, now
        return state == "publishing" and now - self._since < EAGER_SECONDS


def _step(wanted: float) -> float:
    pace = FASTEST
    while pace < wanted and pace < SLOWEST:
        pace *= 2
    return min(pace, SLOWEST)
