"""One call of Terraform as a child of this program: its lines as they come, and an end that leaves its state whole.

Terraform that is killed leaves things in the cloud that it no longer knows. So it runs in a session of its own, where
Ctrl-C does not reach it, and is told once to stop: it then finishes what it has begun and saves its state. Only a
second signal makes it hurry, as it does in a terminal.
"""

from __future__ import annotations

import importlib
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from fedtier.problems import StartupError
from fedtier_cli.interruption import Interrupted

_PROGRAM: Final = "terraform"
_PATIENCE: Final = 600.0
"""Seconds that Terraform has to finish what it has begun, when it takes too long."""
_SESSION: Final = "import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])"


class TimedOut(Exception):
    """Terraform took too long, was told to stop, and has stopped."""


def run_terraform(
    folder: Path,
    command: str,
    *arguments: str,
    see: Callable[[bytes], None],
    stopping: Callable[[], None],
    timeout: float,
    **options: Any,
) -> tuple[int, str]:
    """Run a command of Terraform to its end.

    Parameters
    ----------
    folder : Path
    command : str
    arguments : str
    see : callable
        Gets every line of standard output, in the thread of the caller.
    stopping : callable
        Called when Terraform is told to stop.
    timeout : float
        Seconds.
    options
        As `python_terraform` takes them.

    Returns
    -------
    int, str
        The exit status, and what stands on standard error.

    Raises
    ------
    TimedOut, Interrupted
        After Terraform has ended.
    StartupError
        There is no Terraform here.
    """
    if shutil.which(_PROGRAM) is None:
        raise StartupError(
            "Terraform is not on the PATH; install version 1.11 or newer, see developer.hashicorp.com/terraform"
        )
    process = _start(folder, command, arguments, options)
    run = _Run(process)
    try:
        run.follow(see, timeout)
    except queue.Empty:
        run.stop(see, stopping)
        raise TimedOut from None
    except Interrupted:
        run.stop(see, stopping)
        raise
    except BaseException:
        run.stop(lambda _: None, lambda: None)
        raise
    return run.ended()


class _Run:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._errors: list[bytes] = []
        self._threads = [
            threading.Thread(target=self._read_lines, name="terraform-lines"),
            threading.Thread(target=self._read_errors, name="terraform-errors"),
        ]
        for thread in self._threads:
            thread.start()

    def follow(self, see: Callable[[bytes], None], timeout: float) -> None:
        """Hand over lines until Terraform ends; raises `queue.Empty` when that takes too long."""
        deadline = time.monotonic() + timeout
        while (line := self._lines.get(timeout=max(deadline - time.monotonic(), 0.0))) is not None:
            see(line)

    def stop(self, see: Callable[[bytes], None], stopping: Callable[[], None]) -> None:
        """Have Terraform finish what it has begun, and wait for that; another signal for this program hurries it."""
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
            self._process.send_signal(number)
            try:
                stopping()
                self.follow(see, _PATIENCE)
            except (Interrupted, queue.Empty):
                continue
            break
        self.ended()

    def ended(self) -> tuple[int, str]:
        for thread in self._threads:
            thread.join()
        return self._process.wait(), b"".join(self._errors).decode(errors="replace")

    def _read_lines(self) -> None:
        assert self._process.stdout is not None, "standard output is a pipe"
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None, "standard error is a pipe"
        with self._process.stderr as lines:
            self._errors.append(lines.read())


def _start(folder: Path, command: str, arguments: Sequence[str], options: dict[str, Any]) -> subprocess.Popen[bytes]:
    try:
        library = importlib.import_module("python_terraform")
    except ModuleNotFoundError:
        raise StartupError(
            "the package python-terraform, which calls Terraform, is not installed; pip install 'fedtier[deploy]'"
        ) from None
    terraform = library.Terraform(working_dir=str(folder), terraform_bin_path=_PROGRAM)
    plain = terraform.generate_cmd_string

    def generate(*words: str, synchronous: bool, **named: Any) -> list[str]:
        # The library would hand its own flag on to Terraform, and offers no other place to ask for a session.
        return [sys.executable, "-I", "-c", _SESSION, *plain(*words, **named)]

    terraform.generate_cmd_string = generate
    try:
        process, _, _ = terraform.cmd(command, *arguments, synchronous=False, **options)
    except OSError as error:
        raise StartupError(f"Terraform cannot be started in {folder} ({error.strerror})") from None
    found: subprocess.Popen[bytes] = process
    return found
