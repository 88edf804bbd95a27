"""A way to a server, byte by byte, that can be closed, stand still, and keep replies to itself."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

import pytest

from tests.s3_servers import S3Server

HOST: Final = "127.0.0.1"
_BLOCK: Final = 1 << 16
_REQUEST: Final = re.compile(rb"[A-Z]+ /[^ ]* HTTP/1\.1\r\n")


@dataclass(slots=True, eq=False)
class Loss:
    """Replies to requests whose first line matches: so many pass, and so many are lost then."""

    pattern: re.Pattern[bytes]
    to_pass: int
    left: int


class Relay:
    """Listens at an address of its own for as long as its `with` block runs, and passes on what comes.

    Parameters
    ----------
    server : tuple of str and int
        Where to.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._moves = threading.Event()
        self._moves.set()
        self._losses: list[Loss] = []
        self._holds: Callable[[bytes], bool] = lambda _: False
        self._released = threading.Event()
        self.held = threading.Semaphore(0)
        """Can be acquired once for each reply that is being held, or was."""
        self._listening = socket.create_server((HOST, 0))
        self.address: Final[tuple[str, int]] = self._listening.getsockname()

    def __enter__(self) -> Self:
        self._accept_from(self._listening)
        return self

    def __exit__(self, *_: object) -> None:
        self._moves.set()
        self._released.set()
        self.stop()

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    def stop(self) -> None:
        """Break all connections, and refuse others."""
        with self._lock:
            connections = [self._listening, *self._connections]
        for connection in connections:
            _hang_up(connection)

    def start(self) -> None:
        """Listen again at the same address."""
        self._listening = socket.create_server(self.address)
        self._accept_from(self._listening)

    def freeze(self) -> None:
        """Pass nothing on; connections are made, and stay."""
        self._moves.clear()

    def thaw(self) -> None:
        self._moves.set()

    def lose_replies(self, pattern: bytes, count: int = 1, *, after: int = 0) -> Loss:
        """Have replies of success to requests whose first line matches lost: so many, after so many that pass."""
        loss = Loss(re.compile(pattern), after, count)
        with self._lock:
            self._losses.append(loss)
        return loss

    @property
    def left_to_lose(self) -> int:
        with self._lock:
            return sum(loss.left for loss in self._losses)

    @contextlib.contextmanager
    def holding_replies(self, pattern: bytes, *, after: int) -> Iterator[None]:
        """Hold the replies to requests whose first line matches, but for so many, until the block ends."""
        wanted, passed = re.compile(pattern), iter(range(after))
        self._released.clear()
        self._holds = lambda line: wanted.match(line) is not None and next(passed, None) is None
        try:
            yield
        finally:
            self._holds = lambda _: False
            self._released.set()

    # For whoever counts what passes; called by several threads.

    def saw_connection(self) -> None:
        """Take note that somebody has connected."""

    def saw_request(self, line: bytes) -> None:
        """Take note of a request, by its first line."""

    def saw_bytes(self, line: bytes, count: int, *, up: bool) -> None:
        """Take note of bytes of the request with that first line, or of its answer."""

    def _accept_from(self, listening: socket.socket) -> None:
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._server)
        except OSError:
            _hang_up(client)
            return
        with self._lock:
            self._connections |= {client, server}
        self.saw_connection()
        asked = [b""]
        there = threading.Thread(
            target=self._pass, args=(client, server, lambda data: self._note(data, asked)), daemon=True
        )
        there.start()
        self._pass(server, client, lambda data: self._passes(data, asked[0]))
        there.join()
        with self._lock:
            self._connections -= {client, server}

    def _pass(self, source: socket.socket, destination: socket.socket, passes: Callable[[bytes], bool]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK):
                self._moves.wait()
                if not passes(data):
                    break
                destination.sendall(data)
        for connection in (source, destination):
            _hang_up(connection)

    def _note(self, data: bytes, asked: list[bytes]) -> bool:
        """Take note of a part of a request, which always passes."""
        if found := _REQUEST.match(data):
            asked[0] = found[0]
            self.saw_request(asked[0])
        self.saw_bytes(asked[0], len(data), up=True)
        return True

    def _passes(self, data: bytes, line: bytes) -> bool:
        """Return whether a part of a reply passes, perhaps only after it was held; another part always does."""
        self.saw_bytes(line, len(data), up=False)
        if not data.startswith(b"HTTP/1.1 ") or data.startswith(b"HTTP/1.1 1"):
            return True
        if self._holds(line):
            self.held.release()
            self._released.wait()
        return not (data.startswith(b"HTTP/1.1 200") and self._loses(line))

    def _loses(self, line: bytes) -> bool:
        with self._lock:
            for loss in self._losses:
                if loss.left and loss.pattern.match(line):
                    if loss.to_pass:
                        loss.to_pass -= 1
                        return False
                    loss.left -= 1
                    return True
        return False


class S3BehindRelay(Relay):
    """The way to an S3 server that others use too, so that for us it can be away."""

    def __init__(self, server: S3Server) -> None:
        self._real = server
        super().__init__(address_of(server))

    @property
    def server(self) -> S3Server:
        return self._real.by(self.url)


def address_of(server: S3Server) -> tuple[str, int]:
    """Return where a server listens; one that does not speak plain http cannot be relayed."""
    url = urlsplit(server.endpoint)
    if url.scheme != "http" or url.hostname is None:
        pytest.skip("the given S3 server does not speak plain http")
    return url.hostname, url.port or 80


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
