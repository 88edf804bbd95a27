"""Starts a program again whenever it ends, as systemd or Kubernetes does, and measures how long it was away."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Final

from tests.system.federation import Program

_PAUSE: Final = 0.2
"""Seconds between two tries of a start that fails, as a process supervisor has them."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: its exit status, less than 0 for a signal, and the end of what it logged."""

    status: int
    log_end: str


class Keeper:
    """Keeps one program running.

    Parameters
    ----------
    program : Program
        Was started.
    refused : callable
        Called after a start that failed, with the end of the log: what an operator would do then.
    """

    def __init__(self, program: Program, refused: Callable[[str], None] = lambda _: None) -> None:
        self.program = program
        self._refused = refused
        self._before_start: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self.endings: list[Ending] = []
        self.absences: list[float] = []
        self._thread = threading.Thread(target=self._run, name=f"keeper of {program.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """Let the program end; returns when it will not be started again."""
        self._leaving.set()
        while self._thread.is_alive():  # it may be starting the program just now
            self.program.crash()
            self._thread.join(_PAUSE)

    def crash(self, before_start: Callable[[], None] | None = None) -> bool:
        """Kill the program; do something before it is started again. Return whether it ran."""
        if before_start is not None:
            with self._lock:
                self._before_start.append(before_start)
        ran = self.program.process.runs
        self.program.crash()
        return ran

    def _run(self) -> None:
        while True:
            process = self.program.process
            threading.Thread(target=_read_away, args=(process.output,), daemon=True).start()
            status = process.wait(None)
            ended = time.monotonic()
            if self._leaving.is_set():
                return
            self.endings.append(Ending(status, process.log_end()))
            while not self._started():
                if self._leaving.wait(_PAUSE):
                    return
            self.absences.append(time.monotonic() - ended)

    def _started(self) -> bool:
        with self._lock:
            errands, self._before_start = self._before_start, []
        for errand in errands:
            errand()
        try:
            self.program.start()
        except (AssertionError, OSError, ValueError, subprocess.TimeoutExpired):  # it ended again, or does not answer
            process = self.program.process
            process.end()
            self.endings.append(Ending(process.wait(), process.log_end()))
            self._refused(process.log_end())
            return False
        return True


def _read_away(output: IO[bytes]) -> None:
    """Keep a program from waiting for somebody to read what it prints."""
    with contextlib.suppress(ValueError, OSError):  # closed, as its process has ended
        while output.read1(1 << 16):  # type: ignore[attr-defined]
            pass
