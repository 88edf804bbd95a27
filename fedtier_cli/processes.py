"""Processes of a local run: started, listened to, and ended in order.

Each child is a ``fedtier`` command in a session of its own, so that a Ctrl-C at the
terminal reaches the run alone, which then ends its children. What a child prints on
standard output is facts, one JSON object a line; all else goes to its log.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from fedtier.documents import json_object
from fedtier.plain_text import printable
from fedtier.problems import StartupError
from fedtier_cli.tethered import tethered

STOP_ORDER: Final = ("client", "evaluate", "worker", "master", "journal")
"""Programs, in the order in which they are ended: each before the one it talks to."""
_STOP_SECONDS: Final = 30.0
"""Much longer than the grace for open requests that the aggregators are started with."""
_SHOWN_LINES: Final = 6
_SHOWN_BYTES: Final = 2000


class RunFailed(Exception):
    """Why a run cannot go on, as one sentence, with the end of a log where that says more."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A child printed a fact; ``event`` says which."""

    child: Child
    members: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """A child ended."""

    child: Child
    status: int


Event: TypeAlias = Fact | Ended
Read: TypeAlias = Callable[[bytes], Iterable["Mapping[str, Any] | bytes"]]
"""Makes of a line that a child printed the facts in it, and what its log gets of the line."""


class Child:
    """A process that this run started.

    Parameters
    ----------
    name : str
        Unique in the run: ``master``, ``worker-0``, ``client-3``.
    program : str
        One of `STOP_ORDER`: ``journal`` is what listens to a host.
    process : Popen
    log : Path
    log_start : int
        Where this process's part of the log starts, in bytes.
    """

    def __init__(self, name: str, program: str, process: subprocess.Popen[bytes], log: Path, *, log_start: int) -> None:
        self.name = name
        self.program = program
        self.process = process
        self.log = log
        self._log_start = log_start

    def failure(self, what: str) -> RunFailed:
        """Return the sentence that names this child, what it did, and the end of its log, harmless."""
        return RunFailed(
            f"{self.name} {printable(what)}; its log {self.log} ends with:\n{self._log_end() or '(nothing)'}"
        )

    def ended(self, status: int) -> RunFailed:
        """Return the sentence for an end that was not asked for."""
        return self.failure(f"ended {status_in_words(status)}")

    def _log_end(self) -> str:
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _SHOWN_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return "\n".join(printable(line.expandtabs()) for line in lines[-_SHOWN_LINES:])


class Children:
    """The processes of one run, ended with its `with` block.

    To be used by one thread, the main one: on Linux a child ends with the thread that started it.

    Parameters
    ----------
    logs : Path
        Folder of the logs, one per child, appended to.
    environment : Mapping of str to str
        Of every child.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = environment
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._children: list[Child] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stops:
            for program in reversed(STOP_ORDER):
                stops.callback(self.stop, program)

    def start(self, name: str, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Child:
        """Start a ``fedtier`` command.

        Parameters
        ----------
        name : str
            Of the child; its program is `arguments[0]`.
        arguments : sequence of str
            After ``fedtier``.
        environment : Mapping, optional
            On top of the environment of all children.
        """
        return self.start_program(name, arguments[0], ["fedtier", *arguments], _fact_or_line, environment=environment)

    def start_program(
        self,
        name: str,
        program: str,
        call: Sequence[str],
        read: Read,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Start any program.

        Parameters
        ----------
        name, program : str
            Of the child.
        call : sequence of str
            See `fedtier_cli.tethered.tethered`.
        read : callable
            Called for every line that it prints, in a thread of the child's own.
        environment : Mapping, optional
            On top of the environment of all children.
        """
        path = self._logs / f"{name}.log"
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as log:
                log_start = log.seek(0, os.SEEK_END)
                process = subprocess.Popen(
                    tethered(call),
                    env={**self._environment, **(environment or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise StartupError(f"{name} cannot be started: {error}") from None
        child = Child(name, program, process, path, log_start=log_start)
        self._children.append(child)
        threading.Thread(target=self._listen, args=(child, read), name=f"listen-{name}", daemon=True).start()
        return child

    def next_event(self, timeout: float) -> Event | None:
        """Return what a child did, waiting for it so many seconds; None when nothing happened."""
        try:
            return self._events.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return None

    def stop(self, program: str) -> dict[Child, int]:
        """End the children of a program, and return the exit statuses of all that it had.

        They get SIGTERM and time to finish; what remains then, or when this is interrupted, is killed.
        """
        children = [child for child in self._children if child.program == program]
        running = [child for child in children if child.process.poll() is None]
        for child in running:
            child.process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        try:
            for child in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(deadline - time.monotonic(), 0.0))
        finally:
            _kill(running)
        return {child: child.process.wait() for child in children}

    def _listen(self, child: Child, read: Read) -> None:
        assert child.process.stdout is not None, "standard output is a pipe"
        with child.process.stdout as lines, child.log.open("ab") as log:
            for line in lines:
                for said in read(line):
                    self._take(child, said, log)
        self._events.put(Ended(child, child.process.wait()))

    def _take(self, child: Child, said: Mapping[str, Any] | bytes, log: IO[bytes]) -> None:
        if isinstance(said, bytes):
            log.write(said)
            log.flush()
        else:
            self._events.put(Fact(child, said))


def _fact_or_line(line: bytes) -> list[Mapping[str, Any] | bytes]:
    """Return the fact that a ``fedtier`` command printed, or else the line."""
    members = json_object(line)
    return [members if isinstance(members.get("event"), str) else line]


def _kill(children: Iterable[Child]) -> None:
    """Kill what still runs of some children, with what they started themselves."""
    for child in children:
        if child.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)


def has_ended(pid: int) -> bool:
    """Return whether a process that this one started has ended; whoever waits for it still gets its status."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def status_in_words(status: int) -> str:
    """Return an exit status as a person reads it: ``with status 1``, ``by SIGKILL``."""
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"


def as_json_line(members: Mapping[str, Any]) -> str:
    """Return a fact as one line of JSON."""
    return json.dumps(dict(members))
