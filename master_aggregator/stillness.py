"""When to warn that the open round gets no new contributors. Pure; the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fedtier.reminders import Reminder
from fedtier.rounds import RoundStatus

FIRST_WARNING: Final = 300.0
"""Seconds; training takes its time."""
LONGEST_PAUSE: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Still:
    """The round stands still.

    Parameters
    ----------
    seconds : float
        Since it was first looked at with so many contributors.
    missing : int
        Contributors until it closes.
    """

    seconds: float
    missing: int


class Stillness:
    """Looks at the round again and again, and tells when a warning is due, ever less often."""

    def __init__(self) -> None:
        self._seen: object = None
        self._since: datetime | None = None
        self._reminder = _reminder()

    def look(self, status: RoundStatus, now: datetime) -> Still | None:
        """Return what to warn of, or None.

        Parameters
        ----------
        status : RoundStatus
        now : datetime
        """
        seen = (status.pair, status.counted)
        if self._since is None or seen != self._seen:
            self._seen, self._since, self._reminder = seen, now, _reminder()
        seconds = (now - self._since).total_seconds()
        if status.state not in {"collecting", "paused"} or not self._reminder.due(seconds):
            return None
        overdue = status.deadline is not None and now >= status.deadline
        quorum = min(status.min_clients, status.threshold) if overdue else status.threshold
        return Still(seconds, max(quorum - status.counted, 0))


def _reminder() -> Reminder:
    return Reminder(first=FIRST_WARNING, pause=FIRST_WARNING, longest=LONGEST_PAUSE)
