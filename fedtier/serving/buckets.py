"""How many requests one sender may make: a token bucket for each, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

REQUESTS_PER_SECOND: Final = 100.0
"""Of one client. Where few ask, `fedtier.serving.pacing` has each of them ask up to 50 times a second."""
BURST: Final = 200.0
"""So many may come at once."""
MOST_SENDERS: Final = 10_000
"""Whoever was not heard of for the longest time is forgotten beyond it, and begins anew with a whole burst."""


class TokenBuckets:
    """Says whether a sender may make one more request. Not for use by several threads at once.

    Parameters
    ----------
    rate : float
        Requests per second that a sender may go on with.
    burst : float
        Requests that may come at once after a rest.
    most_senders : int
        How many are remembered.
    """

    def __init__(
        self, *, rate: float = REQUESTS_PER_SECOND, burst: float = BURST, most_senders: int = MOST_SENDERS
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._most_senders = most_senders
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, sender: str, now: float) -> float:
        """Count one request, unless it is one too many.

        Parameters
        ----------
        sender : str
        now : float
            Seconds on a monotonic clock.

        Returns
        -------
        float
            0 when it may be made, else the seconds until one may; it is not counted then.
        """
        level, since = self._buckets.pop(sender, (self._burst, now))
        level = min(self._burst, level + self._rate * max(0.0, now - since))
        wait = 0.0 if level >= 1 else (1 - level) / self._rate
        self._buckets[sender] = (level - 1 if level >= 1 else level), now
        while len(self._buckets) > self._most_senders:
            self._buckets.popitem(last=False)
        return wait
