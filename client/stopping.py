"""What a client breaks off when it is told to stop, what it may finish first, and what is never broken off.

It knows no signals, clock or thread: `client.signals` says when the client is told, and when its grace is over.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from client.events import Step, Upload

Result = TypeVar("Result")


class Patience(Enum):
    """How long work goes on that is under way when the client is told to stop."""

    NONE = "none"
    """Not at all: a pause, a question, a download, a training. Nothing that is on disk is lost by it."""
    GRACE = "grace"
    """Until the grace is over: an upload, which a round may be waiting for."""


def patience_with(step: Step) -> Patience:
    """Return how long a step goes on that is under way when the client is told to stop."""
    return Patience.GRACE if isinstance(step, Upload) else Patience.NONE


class BrokenOff(BaseException):
    """Work was broken off, or not begun, because the client was told to stop."""


class Stopping:
    """Whether a client was told to stop; breaks off work where that is allowed.

    What runs outside of `breakable` is done to its end, so nothing is written by half.

    Parameters
    ----------
    status : int
        Exit status of clients that are told to stop before they have done all there is to do.

    Attributes
    ----------
    asked : bool
        The client was told to stop, and begins nothing more.
    breaks_off : bool
        The work under way may be broken off, and leaves nothing by half where its process ends.
    last_words : callable
        Says that the client stops, for when the thread that does its work does not come back to say so.
    failed : callable
        Returns whether something had failed before.
    """

    def __init__(self, *, status: int = 0) -> None:
        self._status = status
        self.asked = False
        self.breaks_off = False
        self.last_words: Callable[[], None] = _nothing
        self.failed: Callable[[], bool] = bool
        self._grace_is_over = False
        self._patience: Patience | None = None
        self._broken = False

    def ask(self) -> None:
        """Tell the client to stop; to be called as a signal handler is, in the midst of the work, by its thread.

        More than once changes nothing, unless the grace is over.

        Raises
        ------
        BrokenOff
            What is under way may be broken off.
        """
        self.asked = True
        self._break_off()

    def exit_status(self) -> int:
        """Return the exit status of what was broken off: 1 where something had failed before."""
        return 1 if self.failed() else self._status

    def end_grace(self) -> None:
        """Let the next `ask` break off what had its grace."""
        self._grace_is_over = True

    def breakable(self, patience: Patience, work: Callable[[], Result]) -> Result:
        """Return what some work returns, unless it is broken off, or asked for after the client was told to stop.

        Raises
        ------
        BrokenOff
            Whatever code in between made of it: a training that caught it and returned has returned nothing.
        """
        try:
            self._broken, self._patience = False, patience
            if self.asked:
                raise BrokenOff
            self.breaks_off = True
            return work()
        finally:
            self._patience, self.breaks_off = None, False
            if self._broken:
                raise BrokenOff

    def _break_off(self) -> None:
        due = {Patience.NONE: self.asked, Patience.GRACE: self._grace_is_over}
        if self._patience is not None and due[self._patience]:
            self._broken, self._patience = True, None
            raise BrokenOff


def _nothing() -> None:
    pass
