"""Local runs as real processes, told to print facts, and ended with the test whatever becomes of it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TASK_FILE = Path(__file__).with_name("tiny_task.py")
TASK = f"{TASK_FILE}:Line"
LABEL = "tiny_task.Line"
CLIENTS = 3
FEWEST = ("--workers", "1", "--processes", "1")
"""Flags of a run that is not about its processes: each takes a second to start."""
FOR_EVER = 1_000_000
END_SECONDS = 120

Fact = dict[str, Any]


def write_points(folder: Path, *, clients: int = CLIENTS) -> Path:
    """Make the data of the tiny task: different points and another number of them for each client."""
    rng = np.random.default_rng(5)
    folder.mkdir()
    for number, name in enumerate([*(f"client-{number}" for number in range(clients)), "test"]):
        x = rng.uniform(-1, 1, size=20 + 7 * number)
        np.savetxt(folder / f"{name}.csv", np.stack([x, 3 * x + number], axis=1), delimiter=",")
    return folder


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FEDTIER_", "AWS_"))}
    return {**kept, "FEDTIER_HOME": str(home), **more}


def fedtier(*arguments: str | Path | int) -> list[str]:
    return [sys.executable, "-P", "-m", "fedtier_cli.main", *map(str, arguments)]


def tiny_flags(data: Path, *, rounds: int | None, clients: int = CLIENTS, task: str = TASK) -> list[str]:
    flags = ["--clients", str(clients), "--model", task, "--data-dir", str(data)]
    return flags if rounds is None else ["--round", str(rounds), *flags]


def call(home: Path, *arguments: str | Path | int, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        fedtier(*arguments),
        cwd=home,
        env=environment(home, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )


def facts_of(output: str, event: str) -> list[Fact]:
    facts = [json.loads(line) for line in output.splitlines()]
    return [fact for fact in facts if fact["event"] == event]


def train_tiny(home: Path, data: Path, *more: str | Path | int, rounds: int) -> list[Fact]:
    """Train to a round and return the rounds that were published on the way."""
    result = call(home, "train", *tiny_flags(data, rounds=rounds), "--json", *more)
    assert result.returncode == 0, result.stderr
    return facts_of(result.stdout, "published")


class RunningCommand:
    """A command that goes on while its facts are read."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pids: dict[str, int] = {}

    def await_fact(self, event: str, **members: Any) -> Fact:
        """Return the next fact that has these members; the processes that are started meanwhile are noted."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            fact: Fact = json.loads(line)
            if fact["event"] == "started":
                self.pids[fact["name"]] = fact["pid"]
            if fact["event"] == event and members.items() <= fact.items():
                return fact
        raise AssertionError(f"ended without {event} {members}: {self.error()}")

    def end(self) -> int:
        """Wait for the end and return the status."""
        self.process.communicate(timeout=END_SECONDS)
        return self.process.returncode

    def error(self) -> str:
        """Wait for the end and return what was printed on standard error."""
        return self.process.communicate(timeout=END_SECONDS)[1]


@contextlib.contextmanager
def running(home: Path, *arguments: str | Path | int) -> Iterator[RunningCommand]:
    with subprocess.Popen(
        fedtier(*arguments, "--json"),
        cwd=home,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield RunningCommand(process)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def sessions_alive(leaders: Sequence[int]) -> list[str]:
    """Return the command lines of all processes in these sessions: children of a run lead one each."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) in leaders and state != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


def await_end(pids: Sequence[int]) -> bool:
    """Wait until processes that are not ours to wait for have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                if not select.select([descriptor], [], [], END_SECONDS)[0]:
                    return False
            finally:
                os.close(descriptor)
    return True
