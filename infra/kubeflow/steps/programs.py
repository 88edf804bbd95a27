"""Runs ``fedtier`` commands for a task: what they print is in the task's log, and what goes wrong in its error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

from fedtier.documents import json_object
from fedtier.plain_text import printable
from fedtier_cli.processes import status_in_words
from fedtier_cli.tethered import tethered
from fedtier_cli.workplace import without_own_settings

_SHOWN_LINES: Final = 12
_PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT)


class ProgramFailed(Exception):
    """A command did not end well; the sentence says which, how, and what it said at last.

    Parameters
    ----------
    name : str
        The command: ``client``.
    status : int
        Its exit status; minus the number of the signal that ended it.
    facts : sequence of Mapping
        What it printed on standard output.
    end : str
        The last lines that it printed on standard error.
    """

    def __init__(self, name: str, status: int, facts: Sequence[Mapping[str, Any]], end: str) -> None:
        super().__init__(f"fedtier {name} ended {status_in_words(status)}; it said at last:\n{end or '(nothing)'}")
        self.name = name
        self.status = status
        self.facts = facts


def run_fedtier(*arguments: str, variables: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """Run a command to its end, and return the facts that it printed.

    Whatever it prints is printed here at once. SIGTERM and SIGINT to this process are passed on; the command then ends
    in its own time. It ends with this process, too, where that is killed.

    Parameters
    ----------
    *arguments : str
        After ``fedtier``; ``--json`` is added.
    variables : Mapping of str to str
        Environment variables on top of this process's, of which those that set up ``fedtier`` are left out.

    Returns
    -------
    list of Mapping
        The JSON objects on its standard output, in order.

    Raises
    ------
    ProgramFailed
        It ended with another status than 0.
    """
    with _signals_held() as started:
        process = subprocess.Popen(
            tethered(["fedtier", *arguments, "--json"]),
            env={**without_own_settings(os.environ), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            started(process)
            assert process.stdout is not None, "it is a pipe"
            assert process.stderr is not None, "it is a pipe"
            end: deque[str] = deque(maxlen=_SHOWN_LINES)
            listener = threading.Thread(target=_echo, args=(process.stderr, end), name="standard error", daemon=True)
            listener.start()
            facts = list(_facts(process.stdout))
            listener.join()
            status = process.wait()
    if status != 0:
        raise ProgramFailed(arguments[0], status, facts, "\n".join(end))
    return facts


def _facts(lines: IO[bytes]) -> Iterator[Mapping[str, Any]]:
    """Print each line, and yield those that are facts."""
    for line in lines:
        print(printable(_text(line)), flush=True)
        if members := json_object(line):
            yield members


def _echo(lines: IO[bytes], end: deque[str]) -> None:
    """Print each line, and keep the last ones."""
    for line in lines:
        end.append(printable(_text(line)))
        print(end[-1], file=sys.stderr, flush=True)


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r\n").expandtabs()


@contextmanager
def _signals_held() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """Pass signals on to the process that is told of, also such as came before there was one."""
    waiting: list[int] = []
    processes: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: object) -> None:
        if not processes:
            waiting.append(number)
        for process in processes:
            process.send_signal(number)

    def started(process: subprocess.Popen[bytes]) -> None:
        processes.append(process)
        while waiting:
            process.send_signal(waiting.pop())

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        yield started
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
