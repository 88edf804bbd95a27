"""One kept connection of a load: a request goes out as its socket takes it, and its answer comes in as it arrives.

In: requests. Out: answers, with their seconds. Nothing here waits: `benchmarks.load` says when a socket can be moved.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Final

KEPT: Final = 1 << 20
"""Bytes of an answer's body that are kept; of a model only its length is wanted."""
_HEAD_LIMIT: Final = 1 << 16
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass(frozen=True, slots=True)
class Body:
    """What a request sends after its head: a whole file, open for reading."""

    file: IO[bytes]
    size: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request.

    Parameters
    ----------
    client : int
        Who asks: its number.
    head : bytes
        To the empty line.
    body : Body or None
    at : float
        When it is to be sent at the earliest, in seconds of `time.monotonic`.
    """

    client: int
    head: bytes
    body: Body | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request.

    Parameters
    ----------
    wanted : Wanted
    status : int
    began, ended : float
        First byte sent, last byte received; seconds of `time.monotonic`.
    head : bytes
    size : int
        Bytes of the body.
    body : bytes
        Its first `KEPT` bytes.
    """

    wanted: Wanted
    status: int
    began: float
    ended: float
    head: bytes
    size: int
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of a header."""
        found = re.search(rb"^" + re.escape(name.encode()) + rb":[ \t]*(.*?)\r$", self.head, re.IGNORECASE | re.M)
        return found[1].decode("latin-1") if found else None


@dataclass(slots=True)
class _Exchange:
    """A request under way and what came of its answer."""

    wanted: Wanted
    began: float
    head: memoryview
    sent: int = 0
    came: bytearray = field(default_factory=bytearray)
    head_end: int = 0
    length: int = 0
    got: int = 0

    def take(self, block: memoryview) -> bool:
        """Take bytes of the answer, and say whether that was all of it."""
        if not self.head_end:
            self.came += block
            end = self.came.find(b"\r\n\r\n")
            if end < 0:
                if len(self.came) > _HEAD_LIMIT:
                    raise ConnectionError("the head of an answer does not end")
                return False
            self.head_end = end + 4
            self.got = len(self.came) - self.head_end
            found = re.search(rb"\r\nContent-Length: (\d+)\r\n", self.came[: self.head_end], re.IGNORECASE)
            self.length = int(found[1]) if found else 0
        else:
            self.got += len(block)
            self.came += block[: max(0, self.head_end + KEPT - len(self.came))]
        return self.got >= self.length

    def answer(self) -> Answer:
        """Return it, now that it is here."""
        status = _STATUS.match(self.came)
        if status is None:
            raise ConnectionError(f"no answer in HTTP/1.1: {bytes(self.came[:80])!r}")
        head, body = bytes(self.came[: self.head_end]), bytes(self.came[self.head_end :])
        return Answer(self.wanted, int(status[1]), self.began, time.monotonic(), head, self.got, body)


class Connection:
    """One kept connection; what does not come to an end on an old one is sent again on a new one."""

    def __init__(
        self, server: tuple[str, int], source: str, opened: Callable[[Connection, socket.socket], None]
    ) -> None:
        self._server = server
        self._source = source
        self._opened = opened
        self._sock: socket.socket | None = None
        self._is_new = False
        self._exchange: _Exchange | None = None
        self.queue: deque[Wanted] = deque()
        self.reconnects = 0

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return self._exchange is not None

    @property
    def number(self) -> int:
        """The descriptor."""
        return -1 if self._sock is None else self._sock.fileno()

    def begin(self, wanted: Wanted) -> None:
        """Begin a request."""
        if self._sock is None:
            self._connect()
        self._exchange = _Exchange(wanted, time.monotonic(), memoryview(wanted.head))

    def move(self, buffer: memoryview) -> Answer | None:
        """Send and receive what can be; return the answer once it is here.

        Raises
        ------
        ConnectionError
            A new connection was lost before anything was answered.
        """
        exchange = self._exchange
        if exchange is None:
            self._close_if_over()
            return None
        try:
            self._send(exchange)
            is_whole = self._receive(exchange, buffer)
        except (ConnectionError, TimeoutError):
            if self._is_new or exchange.came:
                raise
            self.close()
            self.reconnects += 1
            self.begin(exchange.wanted)
            return self.move(buffer)
        if not is_whole:
            return None
        answer = exchange.answer()
        self._exchange, self._is_new = None, False
        is_unfinished = exchange.wanted.body is not None and exchange.sent < exchange.wanted.body.size
        if is_unfinished or (answer.header("Connection") or "").lower() == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _close_if_over(self) -> None:
        """Close a connection that is idle, if the server did."""
        if self._sock is not None:
            try:
                self._sock.recv(1)
            except BlockingIOError:
                return
            except ConnectionError:
                pass
            self.close()

    def _connect(self) -> None:
        self._sock = sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((self._source, 0))
        self._is_new = True
        sock.connect_ex(self._server)
        self._opened(self, sock)

    def _send(self, exchange: _Exchange) -> None:
        assert self._sock is not None, "a request begins with a connection"
        body = exchange.wanted.body
        try:
            while exchange.head:
                sent = self._sock.send(exchange.head, socket.MSG_MORE if body else 0)
                exchange.head = exchange.head[sent:]
            while body is not None and exchange.sent < body.size:
                exchange.sent += os.sendfile(
                    self._sock.fileno(), body.file.fileno(), exchange.sent, body.size - exchange.sent
                )
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return  # an answer may have come before the server stopped reading; receiving says what is the matter

    def _receive(self, exchange: _Exchange, buffer: memoryview) -> bool:
        assert self._sock is not None, "a request begins with a connection"
        try:
            while True:
                size = self._sock.recv_into(buffer)
                if not size:
                    raise ConnectionResetError("the server closed the connection before its answer")
                if exchange.take(buffer[:size]):
                    return True
        except BlockingIOError:
            return False
