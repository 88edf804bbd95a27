"""The bytes of a body and of an answer, moved by a thread that waits for them as long as they keep a rate.

Sockets do not block: what cannot be done now is tried again when the socket is ready.
"""

from __future__ import annotations

import os
import select
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from typing import IO, Final, TypeAlias

from gunicorn.http.unreader import Unreader

from fedtier.serving.front.limits import Limits
from fedtier.serving.front.rates import LeastRate
from fedtier.serving.front.secure import RECORD, SecureSocket

AT_LEAST: Final = 1 << 13
"""Bytes that are asked for at once where less is wanted: what follows is on its way too."""
_BLOCK: Final = 1 << 20
_HELD: Final = 1 << 14
"""Bytes of an answer that wait for what follows: its head and a small body are sent at once, not one by one."""
Wire: TypeAlias = socket.socket | SecureSocket
"""What bytes of the application go through."""


class TooSlow(TimeoutError):
    """The other end keeps a transfer waiting for longer than it may."""


class Inflow(Unreader):
    """Where gunicorn's parser reads from. It takes what is there, until it is told to wait.

    Parameters
    ----------
    sock : socket.socket or SecureSocket
    limits : Limits
    """

    def __init__(self, sock: Wire, limits: Limits) -> None:
        super().__init__()
        self._sock = sock
        self._limits = limits
        self._most = 4 * RECORD if isinstance(sock, SecureSocket) else _BLOCK
        self._patience: _Patience | None = None
        self.too_slow: TooSlow | None = None
        """Why the body of the last request was given up."""

    def wait(self, patiently: bool) -> None:
        """Have the next reads wait for bytes that are still to come, or fail where there are none."""
        self._patience = _Patience(self._sock, self._limits) if patiently else None
        if patiently:
            self.too_slow = None

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Read once; gunicorn calls this until it has what it wants.

        Raises
        ------
        TooSlow, OSError
        """
        size = max(AT_LEAST, min(size_hint or 0, self._most))
        block = b""

        def receive() -> int:
            nonlocal block
            block = self._sock.recv(size)
            return len(block)

        self._receive(receive)
        return block

    def readinto(self, buffer: memoryview) -> int:
        """Read once, what was read ahead or else straight off the socket; returns how many bytes, 0 at the end.

        Raises
        ------
        TooSlow, OSError
        """
        if self.buf.tell():
            held = memoryview(self.take_buffered())
            count = min(len(held), len(buffer))
            buffer[:count] = held[:count]
            self.buf.write(held[count:])
            return count
        return self._receive(lambda: self._sock.recv_into(buffer[: self._most]))

    def _receive(self, receive: Callable[[], int]) -> int:
        if self._patience is None:
            return receive()
        try:
            return self._patience.wait_for(receive, select.POLLIN)
        except TooSlow as error:
            self.too_slow = error
            raise


class Outflow:
    """Where gunicorn's response writes to. For the end of an answer no thread waits: it stays in `unsent`.

    What is written is sent when it is much, or with `flush`.

    Parameters
    ----------
    sock : socket.socket or SecureSocket
    limits : Limits
    """

    def __init__(self, sock: Wire, limits: Limits) -> None:
        self._sock = sock
        self._limits = limits
        self._patience = _Patience(sock, limits)
        self.unsent = bytearray()

    def sendall(self, data: bytes) -> None:
        """Take bytes to send, and keep the last ones where they would have to wait.

        Raises
        ------
        TooSlow, OSError
        """
        self.unsent += data
        if len(self.unsent) >= min(_HELD, self._limits.flush_bytes):
            self.flush()
            self._send_down_to(self._limits.flush_bytes)

    def send(self, data: bytes) -> None:
        """Send bytes that are waited for; gunicorn's ``100 Continue`` comes this way.

        Raises
        ------
        OSError
        """
        self.unsent += data
        self.flush()

    def flush(self) -> None:
        """Send what there is room for now.

        Raises
        ------
        OSError
        """
        send_now(self._sock, self.unsent)

    def sendfile(self, file: IO[bytes], offset: int, count: int) -> None:
        """Send a part of a file.

        Raises
        ------
        TooSlow, OSError
        """
        self._send_down_to(0)
        send = self._read_and_send if isinstance(self._sock, SecureSocket) else self._send_unread
        end = offset + count
        while offset < end:
            at, left = offset, end - offset
            sent = self._patience.wait_for(lambda: send(file, at, left), select.POLLOUT)  # noqa: B023 - called at once
            if not sent:
                raise ConnectionAbortedError("the file ended before its answer did")
            offset += sent

    def _send_down_to(self, kept: int) -> None:
        while len(self.unsent) > kept:
            del self.unsent[: self._patience.wait_for(lambda: send_once(self._sock, self.unsent), select.POLLOUT)]

    def _read_and_send(self, file: IO[bytes], offset: int, count: int) -> int:
        file.seek(offset)
        block = file.read(min(count, RECORD))
        return self._sock.send(block) if block else 0

    def _send_unread(self, file: IO[bytes], offset: int, count: int) -> int:
        return os.sendfile(self._sock.fileno(), file.fileno(), offset, min(count, _BLOCK))


def send_once(sock: Wire, data: bytearray) -> int:
    """Send some of these bytes and return how many."""
    with memoryview(data) as view:
        return sock.send(view)


def send_now(sock: Wire, unsent: bytearray) -> int:
    """Send the bytes that there is room for, and take them away.

    Parameters
    ----------
    sock : socket.socket or SecureSocket
        Does not block.
    unsent : bytearray

    Returns
    -------
    int
        The event of `selectors` to wait for; 0 when all are sent.

    Raises
    ------
    OSError
    """
    try:
        while unsent:
            del unsent[: send_once(sock, unsent)]
    except ssl.SSLWantReadError:
        return selectors.EVENT_READ
    except (BlockingIOError, ssl.SSLWantWriteError):
        return selectors.EVENT_WRITE
    return 0


class _Patience:
    """How long a thread waits for one direction of a socket."""

    def __init__(self, sock: Wire, limits: Limits) -> None:
        self._sock = sock
        self._limits = limits
        self._rate = LeastRate(limits.min_rate, limits.rate_seconds if limits.min_rate else limits.silence)
        self._ready = select.poll()

    def wait_for(self, move: Callable[[], int], event: int) -> int:
        """Move some bytes as soon as that is possible, and return how many.

        Parameters
        ----------
        move : callable
        event : int
            Of `select.poll`, that makes it possible; TLS may want another.
        """
        begun: float | None = None
        while True:
            try:
                num_bytes = move()
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            except BlockingIOError:
                wanted = event
            else:
                self._rate.moved(num_bytes, 0.0 if begun is None else time.monotonic() - begun)
                return num_bytes
            begun = begun or time.monotonic()
            self._await(wanted, begun + self._rate.patience)

    def _await(self, event: int, until: float) -> None:
        self._ready.register(self._sock, event)
        left = until - time.monotonic()
        if left <= 0 or not self._ready.poll(left * 1000):
            raise TooSlow(self._sentence())

    def _sentence(self) -> str:
        limits = self._limits
        if limits.min_rate:
            return f"slower than {limits.min_rate} bytes per second for {limits.rate_seconds:g} s (--min-rate)"
        return f"no byte for {limits.silence:g} s"
