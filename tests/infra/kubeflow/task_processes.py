"""Processes of a local run's tasks, found by what they were called with: looked for, held, let go and killed."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.infra.traces import children


def client_process(workspace: Path, client_id: str) -> int | None:
    """Return the process that trains as a client of a run, if there is one."""
    for pid, words in _processes():
        if f"--client-id\0{client_id}\0" in words and str(workspace) in words and "\0client\0" in words:
            return pid
    return None


def hold(pid: int) -> None:
    """Have a process stand still."""
    os.kill(pid, signal.SIGSTOP)


def kill_task_of(pid: int, runner: int) -> None:
    """Kill the whole task that a process is of, as the end of its pod does.

    Parameters
    ----------
    pid : int
    runner : int
        The process below which tasks are run. A process that is not, or no longer, below it is left alone.
    """
    first = pid
    while (parent := _parent(first)) != runner:
        if parent is None:
            return
        first = parent
    kill_all_of(first)


def kill_all_of(pid: int) -> None:
    """Kill a process and all that it started, and they started."""
    with contextlib.suppress(ProcessLookupError):
        started = children(pid)
        # It first, or it could start others. It is not held for that: what enters namespaces for it would stand still
        # with it, and for ever.
        os.kill(pid, signal.SIGKILL)
        for child in started:
            kill_all_of(child)


def runner_process(description: Path) -> int | None:
    """Return the process that runs tasks, by the file that says which."""
    for pid, words in _processes():
        # What enters the namespaces for it is called with the same words, and its own name before them.
        if words.endswith(f"\0-m\0tests.infra.kubeflow.local_run\0{description}\0") and "nsenter" not in words:
            return pid
    return None


def _processes() -> Iterator[tuple[int, str]]:
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(place.name), (place / "cmdline").read_text(errors="replace")


def _parent(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]) or None
