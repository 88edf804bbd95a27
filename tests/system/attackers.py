"""Loads that a hostile network puts on a server, each from a process of its own; bounded, and on loopback only.

``python -m tests.system.attackers KIND HOST PORT AMOUNT ROUND`` prints a line when it is in full swing, and a second
one with what it did when it is told to end (SIGTERM). `Attack` starts and ends it.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from tests.system.federation import Process

TOKENS: Final = "ATTACKER_TOKENS"
"""Variable with what unfinished bodies are announced with: a JSON list of client ids and tokens."""
_ANNOUNCED: Final = 1 << 12
_BACK_AFTER: Final = 0.5
"""Seconds after which whoever was cut off comes back."""
_MOST_AT_ONCE: Final = 500
_IN_FULL_SWING: Final = 1.0
"""Seconds after which an attack says that it is there."""
_BYTE_EVERY: Final = 1.0


@dataclass(frozen=True)
class Attack:
    """A load on one server, while its `with` block runs.

    Parameters
    ----------
    kind : str
        ``flood``, ``bodies`` or ``heads``.
    amount : int
        Requests per second, or connections.
    host : str
    port : int
    folder : Path
        Where its log lies.
    round_number : int
        To which its bodies belong.
    tokens : sequence of (str, str)
        Client ids and tokens that its requests bear, in turn; none bears one where there are none.
    """

    kind: str
    amount: int
    host: str
    port: int
    folder: Path
    round_number: int
    tokens: Sequence[tuple[str, str]] = ()
    report: dict[str, Any] = field(default_factory=dict, compare=False)
    """What it did, once the block is over."""
    _started: list[Process] = field(default_factory=list, compare=False, repr=False)

    def __enter__(self) -> Self:
        place = (self.host, str(self.port), str(self.amount), str(self.round_number))
        variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), TOKENS: json.dumps(self.tokens)}
        command = [sys.executable, "-m", "tests.system.attackers", self.kind, *place]
        process = Process(f"attack-{self.kind}", command, self.folder, variables)
        self._started.append(process)
        line = process.output.readline()
        assert line, f"the attack ended with status {process.wait()}\n{process.log_end()}"
        return self

    def __exit__(self, *_: object) -> None:
        process = self._started.pop()
        process.signal(signal.SIGTERM)
        line = process.output.readline()
        process.end()
        self.report.update(json.loads(line or "{}"))


@dataclass
class _Connection:
    """One connection, and what it is in the midst of."""

    socket: socket.socket
    unsent: bytes
    got: bytearray = field(default_factory=bytearray)
    number: int = 0


class _Attacker:
    """What all attacks have in common: connections that are not waited for.

    Parameters
    ----------
    address : (str, int)
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._selector = selectors.DefaultSelector()
        self._told_to_end = False
        self._parent = os.getppid()
        self.done: Counter[str] = Counter()

    def tell_to_end(self, *_: object) -> None:
        self._told_to_end = True

    def connect(self, first: bytes, number: int = 0) -> _Connection:
        """Begin a connection, on which these bytes are sent as soon as it is there."""
        connection = _Connection(socket.socket(), first, number=number)
        connection.socket.setblocking(False)
        connection.socket.connect_ex(self._address)
        self._selector.register(connection.socket, selectors.EVENT_WRITE | selectors.EVENT_READ, connection)
        self.done["connections"] += 1
        return connection

    def pump(self, seconds: float) -> Iterator[tuple[_Connection, bool]]:
        """Send and receive for a while; yields connections on which something came, and whether they are still open."""
        for key, events in self._selector.select(seconds):
            connection: _Connection = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    self._send(connection)
                if events & selectors.EVENT_READ:
                    block = connection.socket.recv(1 << 16)
                    connection.got += block
                    yield connection, bool(block)
            except BlockingIOError:
                continue
            except OSError:
                self.done["broken"] += 1
                yield connection, False

    def _send(self, connection: _Connection) -> None:
        sent = connection.socket.send(connection.unsent)
        connection.unsent = connection.unsent[sent:]
        if not connection.unsent:
            self._selector.modify(connection.socket, selectors.EVENT_READ, connection)

    def say(self, connection: _Connection, more: bytes) -> None:
        """Send something more on an open connection."""
        connection.unsent += more
        events = selectors.EVENT_WRITE | selectors.EVENT_READ
        self._selector.modify(connection.socket, events, connection)

    def close(self, connection: _Connection) -> None:
        if connection.got:
            self.done["status " + connection.got[9:12].decode(errors="replace")] += 1
        self._selector.unregister(connection.socket)
        connection.socket.close()

    @property
    def answers(self) -> int:
        return sum(count for what, count in self.done.items() if what.startswith("status"))

    @property
    def open(self) -> int:
        return len(self._selector.get_map())

    def go_on(self) -> bool:
        """Return whether to attack further: not once told to end, nor without whoever wanted it."""
        return not self._told_to_end and os.getppid() == self._parent


def flood(attacker: _Attacker, rate: int, host: str) -> None:
    """Ask so many times per second, each time on a new connection, which costs a server most."""
    request = f"GET /v1/round HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    started, asked, announced = time.monotonic(), 0, False
    while attacker.go_on():
        due = int((time.monotonic() - started) * rate)
        while asked < due and attacker.open < _MOST_AT_ONCE:
            attacker.connect(request)
            asked += 1
        for connection, is_open in attacker.pump(0.002):
            if not is_open:
                attacker.close(connection)
        if not announced and time.monotonic() - started > _IN_FULL_SWING:
            announced = _announce()
    seconds = time.monotonic() - started
    attacker.done["asked per second"] = round(asked / seconds)
    attacker.done["answered per second"] = round(attacker.answers / seconds)


def bodies(
    attacker: _Attacker, connections: int, host: str, round_number: int, tokens: Sequence[tuple[str, str]]
) -> None:
    """Announce bodies, of which nothing comes but the first byte."""
    heads = []
    for number in range(connections):
        client, token = tokens[number % len(tokens)] if tokens else (f"client-{number % 10}", "")
        bearer = f"Authorization: Bearer {token}\r\n" if token else ""
        path = f"/v1/rounds/{round_number}/updates/{client}"
        head = f"PUT {path} HTTP/1.1\r\nHost: {host}\r\n{bearer}Content-Length: {_ANNOUNCED}\r\n\r\n"
        heads.append(head.encode() + b"x")
    _hold(attacker, heads, b"")


def heads(attacker: _Attacker, connections: int, host: str) -> None:
    """Begin requests whose heads come a byte a second."""
    _hold(attacker, [f"GET /v1/round HTTP/1.1\r\nHost: {host}\r\nX-".encode()] * connections, b"x")


def _hold(attacker: _Attacker, openings: Sequence[bytes], drop: bytes) -> None:
    """Keep a connection for each opening, and come back soon after it is cut off."""
    missing = [(0.0, number) for number in range(len(openings))]
    held: dict[int, _Connection] = {}
    started, announced = time.monotonic(), False
    next_drop = started + _BYTE_EVERY
    while attacker.go_on():
        now = time.monotonic()
        while missing and missing[0][0] <= now:
            _, number = heapq.heappop(missing)
            held[number] = attacker.connect(openings[number], number)
        if drop and now >= next_drop:
            next_drop = now + _BYTE_EVERY
            for connection in held.values():
                attacker.say(connection, drop)
        for connection, is_open in attacker.pump(0.02):
            if not is_open:
                attacker.close(connection)
                del held[connection.number]
                heapq.heappush(missing, (now + _BACK_AFTER, connection.number))
        if not announced and now - started > _IN_FULL_SWING:
            announced = _announce()
    attacker.done["open in the end"] = attacker.open


def _announce() -> bool:
    print(json.dumps({"event": "attacking"}), flush=True)
    return True


def main() -> None:
    """Run an attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["flood", "bodies", "heads"])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("amount", type=int)
    parser.add_argument("round_number", type=int)
    options = parser.parse_args()
    attacker = _Attacker((options.host, options.port))
    signal.signal(signal.SIGTERM, attacker.tell_to_end)
    if options.kind == "flood":
        flood(attacker, options.amount, options.host)
    elif options.kind == "heads":
        heads(attacker, options.amount, options.host)
    else:
        tokens = json.loads(os.environ.get(TOKENS, "[]"))
        bodies(attacker, options.amount, options.host, options.round_number, tokens)
    print(json.dumps({"event": "ended", **attacker.done}), flush=True)


if __name__ == "__main__":
    main()
