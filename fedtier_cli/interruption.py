"""Ctrl-C and SIGTERM as an exception, so that `with` blocks end what they started, in their order."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked the program to end.

    Parameters
    ----------
    number : int
        The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status by which shells name the signal: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise `Interrupted` in the main thread for each signal that asks the program to end."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    # nohup ignores the hang-up on purpose; an ignored SIGINT only means that a script started this in the background.
    hang_up_is_ignored = before[signal.SIGHUP] is signal.SIG_IGN
    caught = [number for number in _SIGNALS if not (number == signal.SIGHUP and hang_up_is_ignored)]
    for number in caught:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])


def _raise(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(number)


@contextmanager
def ended_by_signals(what: str, *, status: int | None = None) -> Iterator[None]:
    """End the program with a sentence and a status when a signal asks it to end.

    Parameters
    ----------
    what : str
        That is ended, for the sentence.
    status : int, optional
        By default the one that names the signal.
    """
    try:
        with signals_raised():
            yield
    except Interrupted as interrupted:
        print(f"{what} was ended by {interrupted}", file=sys.stderr)
        sys.exit(interrupted.status if status is None else status)
