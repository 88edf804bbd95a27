"""Programs of one run: started with their output in a file, watched, and ended with all that they started.

Some of the peers' programs leave what they start to itself; Linux gives such a process to this one, as the nearest
subreaper above it, so that the end of a run finds it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from benchmarks.processes import tree

_BECOME_SUBREAPER = 36
_ASK_SECONDS = 0.05
_SHOWN_BYTES = 2000


class RunFailedError(Exception):
    """Why a run came to nothing, with the last line of a program's output where that says more."""


class Programs:
    """Ends, when its `with` block ends, whatever was started in it.

    Parameters
    ----------
    folder : Path
        For the programs' output, one file each.
    environment : Mapping of str to str
        Theirs, whole.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._environment = environment
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._others: set[int] = set()

    def __enter__(self) -> Self:
        ctypes.CDLL(None, use_errno=True).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)
        self._others = set(tree(os.getpid()))
        return self

    def __exit__(self, *_: object) -> None:
        while below := set(tree(os.getpid())) - self._others:
            for pid in below:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self._started.values():
                process.wait()
            for pid in below:
                with suppress(ChildProcessError):  # its parent has still to go, or it was waited for above
                    os.waitpid(pid, 0)

    def start(self, name: str, words: Sequence[str], **environment: str) -> int:
        """Start a program in the run's folder; return its process id.

        Parameters
        ----------
        name : str
            Unique in the run; its output goes to ``<name>.log``.
        environment : str
            Variables beside those of all programs.
        """
        with (self.folder / f"{name}.log").open("wb") as log:
            self._started[name] = subprocess.Popen(
                words,
                cwd=self.folder,
                env={**self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self._started[name].pid

    def await_end(self, name: str, patience: float) -> None:
        """Wait until a program has ended well.

        Raises
        ------
        RunFailedError
            It did not within so many seconds, or ended badly.
        """
        try:
            status = self._started[name].wait(patience)
        except subprocess.TimeoutExpired:
            raise RunFailedError(f"{name} has not ended in {patience:g} s: {self._last_words(name)}") from None
        if status:
            raise RunFailedError(f"{name} ended with status {status}: {self._last_words(name)}")

    def await_that(self, condition: Callable[[], object], what: str, patience: float) -> None:
        """Ask until something is true.

        Raises
        ------
        RunFailedError
            It was not within so many seconds, or a program ended meanwhile with another status than 0.
        """
        deadline = time.monotonic() + patience
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                last = "; ".join(f"{name}: {self._last_words(name)}" for name in list(self._started)[:2])
                raise RunFailedError(f"not in {patience:g} s: {what}; {last}")
            time.sleep(_ASK_SECONDS)

    def copy_output(self, folder: Path) -> None:
        """Keep what all programs said so far in another folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in self._started:
            shutil.copy(self.folder / f"{name}.log", folder)

    def check(self) -> None:
        """Raise `RunFailedError` where a program has ended with another status than 0."""
        for name, process in self._started.items():
            if process.poll():
                raise RunFailedError(f"{name} ended with status {process.returncode}: {self._last_words(name)}")

    def running(self, *words: str) -> list[int]:
        """Return the processes of this run whose command line has all these words in it."""
        found = []
        for pid in set(tree(os.getpid())) - self._others:
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if all(word in line for word in words):
                    found.append(pid)
        return found

    def _last_words(self, name: str) -> str:
        output = (self.folder / f"{name}.log").read_bytes()[-_SHOWN_BYTES:].decode(errors="replace")
        return (output.strip() or "it said nothing").splitlines()[-1].strip()


def listens(port: int) -> bool:
    """Return whether something takes connections on a port of 127.0.0.1."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
