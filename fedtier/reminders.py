"""When to say again that something goes on: at first soon, then ever less often. Pure."""

from __future__ import annotations


class Reminder:
    """Tells when a line about something that lasts is due.

    Parameters
    ----------
    first : float
        Seconds after which the first one is; 0 says so at once.
    pause : float
        Seconds from there to the next; every further pause is twice as long.
    longest : float
        Seconds that a pause has at most.
    """

    def __init__(self, *, first: float, pause: float, longest: float) -> None:
        self._due = first
        self._pause = pause
        self._longest = longest

    def due(self, lasted: float) -> bool:
        """Return whether a line is due now that it has lasted so many seconds; if so, the next is due later."""
        if lasted < self._due:
            return False
        while self._due <= lasted:
            self._due += self._pause
            self._pause = min(2 * self._pause, self._longest)
        return True


def trouble_reminder() -> Reminder:
    """Return one for what works as a rule and does not now: said at once, after 5 s, 15 s, then up to every 10 min."""
    return Reminder(first=0.0, pause=5.0, longest=600.0)
