"""What an aggregator says of what it refuses: enough to see an attack, too little to be one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

WINDOW: Final = 10.0
"""Seconds between two lines for one reason."""
ADDRESSES: Final = 1000
"""Different addresses that are told apart between two lines."""
LINES: Final = 50
"""Lines for single uploads in a window."""
_DETAIL: Final = 200


@dataclass(frozen=True, slots=True)
class Summary:
    """What was refused for one reason since the last line.

    Parameters
    ----------
    reason : str
        The problem's name, or that of another list as short.
    number : int
    addresses : int
        Different ones, at least; past `ADDRESSES` they are not told apart.
    busiest : str
        The address that most of them came from.
    busiest_number : int
    example : str
        The detail of the first of them.
    """

    reason: str
    number: int
    addresses: int
    busiest: str
    busiest_number: int
    example: str


@dataclass(slots=True)
class _Window:
    """What was counted for one reason, and until when it is kept back."""

    until: float
    number: int = 0
    addresses: Counter[str] = field(default_factory=Counter)
    example: str = ""

    def add(self, address: str, detail: str) -> None:
        self.example = self.example if self.number else detail[:_DETAIL]
        self.number += 1
        if address in self.addresses or len(self.addresses) < ADDRESSES:
            self.addresses[address] += 1

    def take(self, reason: str, now: float) -> Summary:
        """Return what was counted, and count anew."""
        busiest, most = self.addresses.most_common(1)[0]
        summary = Summary(reason, self.number, len(self.addresses), busiest, most, self.example)
        self.until, self.number, self.addresses = now + WINDOW, 0, Counter()
        return summary


class Tally:
    """Counts by reason what is refused; each reason has a line at once, and then at most one in each `WINDOW`."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def add(self, reason: str, address: str, detail: str, now: float) -> Summary | None:
        """Count one, and return what is to be said now.

        Parameters
        ----------
        reason : str
            One of a short list.
        address : str
        detail : str
        now : float
            Monotonic seconds.
        """
        window = self._windows.setdefault(reason, _Window(until=now))
        window.add(address, detail)
        return window.take(reason, now) if now >= window.until else None

    def due(self, now: float) -> list[Summary]:
        """Return what was kept back long enough."""
        ripe = [(reason, window) for reason, window in self._windows.items() if window.number and now >= window.until]
        return [window.take(reason, now) for reason, window in ripe]

    def next_due(self) -> float | None:
        """Return when to ask for what is kept back, or None where nothing is."""
        return min((window.until for window in self._windows.values() if window.number), default=None)


class LineBudget:
    """Lets a line be written for each thing once in a `WINDOW`, and `LINES` in all."""

    def __init__(self) -> None:
        self._since = 0.0
        self._written: set[Hashable] = set()

    def allows(self, about: Hashable, now: float) -> bool:
        """Return whether there may be a line about something now, and note that there is one."""
        if now - self._since >= WINDOW:
            self._since = now
            self._written.clear()
        if about in self._written or len(self._written) >= LINES:
            return False
        self._written.add(about)
        return True
