"""A barrier between processes: clients arrive and wait, and the benchmark lets all of them go at one moment.

Standard library only, and one file, so that a program in another virtual environment can load it by its path. Times
are seconds of CLOCK_MONOTONIC, which all processes of a machine share.

A client that enters its training with a round's model holds that model; it arrives here with its next update
ready. So the time of a round, as every system's clients see it, is the last arrival of the round after it
minus the release of its own.

Examples
--------
>>> with Barrier(1) as barrier:
...     client = threading.Thread(target=arrive, args=(barrier.address, "client-0"))
...     client.start()
...     arrived = barrier.await_arrivals(10.0)
...     waited = barrier.release() - arrived["client-0"]
...     client.join()
>>> waited >= 0
True
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_HOST = "127.0.0.1"
_SAYING_SECONDS = 60.0
_LONGEST_LINE = 4096


class Barrier:
    """Where so many parties meet, again and again; open while its `with` block runs.

    Parameters
    ----------
    parties : int
        Names that have to have arrived before all are let go.
    """

    def __init__(self, parties: int) -> None:
        self.parties = parties
        self._changed = threading.Condition()
        self._waiting: dict[str, tuple[float, int | None, socket.socket]] = {}
        self._let_go: dict[str, int] = {}
        self._listener = socket.create_server((_HOST, 0), backlog=1024)
        self._thread = threading.Thread(target=self._take, name="barrier", daemon=True)
        self._thread.start()

    def __enter__(self) -> Barrier:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._listener.close()
        self._thread.join()
        with self._changed:
            for _arrived, _turn, connection in self._waiting.values():
                connection.close()
            self._waiting.clear()

    @property
    def address(self) -> str:
        """Where to arrive, ``host:port``."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    @property
    def here(self) -> frozenset[str]:
        """Who has arrived and waits."""
        with self._changed:
            return frozenset(self._waiting)

    def await_arrivals(self, timeout: float) -> Mapping[str, float]:
        """Wait until all parties are here.

        Parameters
        ----------
        timeout : float
            Seconds. Nothing is lost by waiting in several calls.

        Returns
        -------
        Mapping of str to float
            When each arrived, by its own account.

        Raises
        ------
        TimeoutError
            Somebody is missing; says who is here.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._waiting) >= self.parties, timeout):
                here = ", ".join(sorted(self._waiting)) or "nobody"
                raise TimeoutError(f"{len(self._waiting)} of {self.parties} arrived within {timeout:g} s: {here}")
            return {name: arrived for name, (arrived, _, _) in self._waiting.items()}

    def release(self) -> float:
        """Let all go that are here; return when the first of them was."""
        with self._changed:
            gone, self._waiting = self._waiting, {}
            for name, (_, turn, _) in gone.items():
                if turn is not None:
                    self._let_go[name] = turn
        released = time.monotonic()
        for _, _, connection in gone.values():
            _let_go(connection)
        return released

    def _take(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            connection.settimeout(_SAYING_SECONDS)
            with suppress(OSError, ValueError, KeyError):  # who says nothing, or nonsense, is nobody
                self._welcome(connection, json.loads(_line(connection)))
                continue
            connection.close()

    def _welcome(self, connection: socket.socket, said: Mapping[str, Any]) -> None:
        name, arrived, turn = str(said["name"]), float(said["arrived"]), said["turn"]
        with self._changed:
            if turn is None or turn > self._let_go.get(name, -1):
                if name in self._waiting:  # it was started again
                    self._waiting[name][2].close()
                self._waiting[name] = (arrived, turn, connection)
                self._changed.notify_all()
                return
        _let_go(connection)


def arrive(address: str, name: str, turn: int | None = None) -> float:
    """Say that a party is here, wait until all are let go, and return the arrival as it was said.

    Parameters
    ----------
    address : str
        `Barrier.address`.
    name : str
        Of the party.
    turn : int, optional
        Where several play one party, one after the other: the round. The first to come in a turn waits for all; whoever
        comes under the same name later in that turn passes at once.

    Raises
    ------
    ConnectionError
        The barrier is gone.
    """
    arrived = time.monotonic()
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        said = {"name": name, "arrived": arrived, "turn": turn}
        connection.sendall(json.dumps(said).encode() + b"\n")
        if not connection.recv(1):
            raise ConnectionError(f"the barrier at {address} ended")
    return arrived


def _let_go(connection: socket.socket) -> None:
    with connection, suppress(OSError):  # one that died meanwhile is missed next time
        connection.sendall(b"\n")


def _line(connection: socket.socket) -> bytes:
    said = b""
    while not said.endswith(b"\n"):
        piece = connection.recv(_LONGEST_LINE)
        if not piece or len(said) > _LONGEST_LINE:
            raise ValueError("no line")
        said += piece
    return said
