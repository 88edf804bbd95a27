"""The way to an aggregator, on which requests and replies can be lost, cut short, doubled, delayed and overtaken.

Whoever asks the aggregator asks its way instead. Bytes pass as they come; what an upload carried, and what was
answered, is shown to a witness.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Final, Literal, Protocol, TypeAlias

Kind: TypeAlias = Literal["update", "partial"]

_BLOCK: Final = 1 << 16
_UPLOAD: Final = re.compile(rb"PUT /v1/rounds/([0-9]{1,9})/(update|partial)s/([A-Za-z0-9._-]+) ")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_SILENCE: Final = 90.0
"""Seconds after which a connection is given up; longer than anything that fedtier waits for."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A request that brings an update or a partial."""

    kind: Kind
    round: int
    name: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    raw: bytes
    body: bytes
    closes: bool


class Witness(Protocol):
    """Sees what passes."""

    def sees_upload(self, upload: Upload, body: bytes, sha256: str) -> None:
        """Take note of a body that came whole, before its last byte is passed on."""
        ...

    def sees_reply(self, upload: Upload, status: int, body: bytes) -> None:
        """Take note of an answer, before it is passed on or lost."""
        ...


class Mishap(Protocol):
    """What happens to an upload instead of being passed on."""

    def befall(self, way: Way, upload: Upload, request: Request) -> Reply | None:
        """Do it; return the reply that the sender gets, or None when it gets none."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """A mishap that has not happened yet; None is any kind, any round."""

    mishap: Mishap
    kind: Kind | None
    round: int | None


class Request:
    """A request whose body may still be coming."""

    def __init__(self, head: bytes, source: IO[bytes]) -> None:
        self.head = head
        self.length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        self._source = source
        self._left = self.length
        self._seen = bytearray()

    @property
    def upload(self) -> Upload | None:
        found = _UPLOAD.match(self.head)
        if found is None:
            return None
        return Upload("update" if found[2] == b"update" else "partial", int(found[1]), found[3].decode())

    def blocks(self) -> Iterator[bytes]:
        """Yield the body as it comes; ends early where the sender does."""
        if self._seen:
            yield bytes(self._seen)
        while self._left and (block := self._source.read1(min(_BLOCK, self._left))):  # type: ignore[attr-defined]
            self._left -= len(block)
            self._seen += block
            yield block

    def body(self) -> bytes:
        """Return the body, as far as it comes."""
        for _ in self.blocks():
            pass
        return bytes(self._seen)

    def await_end(self) -> None:
        """Return when whoever sends it has hung up."""
        with contextlib.suppress(OSError):
            while self._source.read(_BLOCK):
                pass

    @property
    def is_whole(self) -> bool:
        return self._left == 0


class Way:
    """Listens, and passes on what comes.

    Parameters
    ----------
    host : str
        Where to listen, on a free port.
    target : callable
        Returns the aggregator's host and port.
    witness : Witness
    """

    def __init__(self, host: str, target: Callable[[], tuple[str, int]], witness: Witness) -> None:
        self._target = target
        self._witness = witness
        self._expected: list[Expected] = []
        self._lock = threading.Lock()
        self._is_open = True
        self._connections: set[socket.socket] = set()
        self._listening = socket.create_server((host, 0))
        self.replied = threading.Condition()
        """Told whenever a reply passed."""
        self.replies = 0
        self.url = "http://{}:{}".format(*self._listening.getsockname())
        threading.Thread(target=self._accept, name="way", daemon=True).start()

    def close(self) -> None:
        self.cut()
        # Waking a thread out of accept() takes more than closing its socket.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def expect(self, mishap: Mishap, *, kind: Kind | None = None, round_number: int | None = None) -> Expected:
        """Let a mishap befall the next upload of a kind and round."""
        expected = Expected(mishap, kind, round_number)
        with self._lock:
            self._expected.append(expected)
        return expected

    def forget(self, expected: Expected) -> bool:
        """Expect a mishap no longer; return False where it happened."""
        with self._lock:
            if expected not in self._expected:
                return False
            self._expected.remove(expected)
            return True

    def cut(self) -> None:
        """Break every connection, and let none stand until it is mended."""
        with self._lock:
            self._is_open = False
            connections = set(self._connections)
        for connection in connections:
            hang_up(connection)

    def mend(self) -> None:
        with self._lock:
            self._is_open = True

    def pass_on(self, upload: Upload, request: Request) -> Reply | None:
        """Do what would have been done without a mishap, on a connection of its own; None where no answer comes."""
        try:
            with socket.create_connection(self._target(), timeout=_SILENCE) as server:
                reply = _answered(server, server.makefile("rb"), request, self._witnessed(upload, request))
        except OSError:
            return None
        if reply is not None:
            self._witness.sees_reply(upload, reply.status, reply.body)
        return reply

    def break_off(self, request: Request, part: bytes, *, after: Callable[[], None] = lambda: None) -> None:
        """Send the aggregator a part of a body and no more; hang up after something is done."""
        with contextlib.suppress(OSError), socket.create_connection(self._target(), timeout=_SILENCE) as server:
            server.sendall(request.head + part)
            after()

    def stall(self, request: Request, part: bytes) -> Reply | None:
        """Send the aggregator a part of a body and nothing more; return what it says to that in the end."""
        try:
            with socket.create_connection(self._target(), timeout=_SILENCE) as server:
                server.sendall(request.head + part)
                return _reply(server.makefile("rb"), request.head)
        except OSError:
            return None

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), name="way", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        try:
            client.settimeout(_SILENCE)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._note(client)
            server = socket.create_connection(self._target(), timeout=_SILENCE)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._note(server)
            self._relay(client, server)
        except OSError:
            pass  # one of them is gone, which the other is about to learn
        finally:
            for connection in (client, server):
                if connection is not None:
                    with self._lock:
                        self._connections.discard(connection)
                    hang_up(connection)

    def _note(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)
            if not self._is_open:
                raise ConnectionResetError("the way is cut")

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        from_client, from_server = client.makefile("rb"), server.makefile("rb")
        while head := _head(from_client):
            request = Request(head, from_client)
            upload = request.upload
            mishap = None if upload is None else self._mishap_for(upload)
            reply: Reply | None
            if upload is None:
                reply = _answered(server, from_server, request, request.blocks())
            elif mishap is not None:
                reply = mishap.befall(self, upload, request)
                if reply is not None:
                    client.sendall(reply.raw)
                return
            else:
                reply = _answered(server, from_server, request, self._witnessed(upload, request))
                if reply is not None:
                    self._witness.sees_reply(upload, reply.status, reply.body)
            if reply is None:
                return
            if reply.closes and not request.is_whole:
                request.body()  # so that the sender can read why it is refused
            client.sendall(reply.raw)
            if upload is not None:
                with self.replied:
                    self.replies += 1
                    self.replied.notify_all()
            if reply.closes:
                return

    def _witnessed(self, upload: Upload, request: Request) -> Iterator[bytes]:
        """Yield the blocks of a body; shows it whole before its last block."""
        held = b""
        digest = hashlib.sha256()
        body = bytearray()
        for block in request.blocks():
            if held:
                yield held
            held = block
            digest.update(block)
            body += block
        if request.is_whole:
            self._witness.sees_upload(upload, bytes(body), digest.hexdigest())
        if held:
            yield held

    def _mishap_for(self, upload: Upload) -> Mishap | None:
        with self._lock:
            for expected in self._expected:
                if expected.kind in (None, upload.kind) and expected.round in (None, upload.round):
                    self._expected.remove(expected)
                    return expected.mishap
        return None


def _answered(server: socket.socket, from_server: IO[bytes], request: Request, blocks: Iterator[bytes]) -> Reply | None:
    """Send a request and return its reply, which may come before the body is sent."""
    try:
        server.sendall(request.head)
        for block in blocks:
            server.sendall(block)
    except (BrokenPipeError, ConnectionResetError):
        return _reply(from_server, request.head)
    return _reply(from_server, request.head) if request.is_whole else None


def _reply(source: IO[bytes], request_head: bytes) -> Reply | None:
    try:
        head = _head(source)
        if not head:
            return None
        status = int(head[9:12])
        has_body = not request_head.startswith(b"HEAD ") and status not in (204, 304)
        found = _LENGTH.search(head)
        length = int(found[1]) if found and has_body else 0
        body = source.read(length)
    except (OSError, ValueError):
        return None
    if len(body) < length:
        return None
    return Reply(status, head + body, body, closes=b"\r\nconnection: close" in head.lower())


def _head(source: IO[bytes]) -> bytes:
    """Read a message up to its body; empty where the connection ends."""
    head = bytearray()
    while line := source.readline(_BLOCK):
        head += line
        if line == b"\r\n":
            return bytes(head)
    return b""


def hang_up(connection: socket.socket) -> None:
    """Close a connection, also for the threads that read from it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
