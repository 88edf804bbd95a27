"""How a benchmark that is told to end does so: it ends what it started and clears away, once and undisturbed."""

from __future__ import annotations

import signal
import sys
from typing import Final, NoReturn

_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


def end_when_told() -> None:
    """Have SIGTERM and a hang-up leave all `with` blocks of this program; another one meanwhile is ignored.

    A hang-up that is ignored already, as ``nohup`` has it, stays so.
    """
    for number in _SIGNALS:
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(told: int, _: object) -> NoReturn:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # some who ask a program to end ask twice
    sys.exit(128 + told)
