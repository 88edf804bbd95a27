"""TLS over a socket that does not block, in steps that end: no sender can keep whoever reads busy.

`ssl.SSLSocket` reads on until there is something for the application. Whoever sends only what concerns TLS
itself, such as key updates, keeps it busy for as long as they come, and everybody else waiting.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

_Result = TypeVar("_Result")
RECORD: Final = 1 << 14
"""Bytes of an application that a record of TLS holds at most."""


class NothingButTls(ssl.SSLError):
    """The other end sends messages of TLS itself, and nothing for the application."""

    reason = "NOTHING_BUT_MESSAGES_OF_TLS"


class SecureSocket:
    """One end of a connection that speaks TLS, as its server.

    What cannot be done yet raises `ssl.SSLWantReadError` or `ssl.SSLWantWriteError`, and is to be tried again when
    the socket is ready.

    Parameters
    ----------
    sock : socket.socket
        Does not block; whose it is, closes it.
    tls : ssl.SSLContext
    most_of_its_own : int
        Bytes in a row that may come with nothing in them for the application.
    """

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext, *, most_of_its_own: int) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent = bytearray()
        self._under_way = 0
        self._most_of_its_own = most_of_its_own
        self._of_its_own = 0

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._sock.fileno()

    def do_handshake(self) -> None:
        """Come to terms with the other end.

        Raises
        ------
        ssl.SSLError, OSError
        """
        self._step(self._tls.do_handshake, RECORD)
        self._of_its_own = 0

    def recv(self, size: int) -> bytes:
        """Return some bytes; none at the end. At most `size` are taken off the socket for them.

        Raises
        ------
        ssl.SSLError, OSError
        """
        return self._read(lambda: self._tls.read(size), size, b"")

    def recv_into(self, buffer: memoryview) -> int:
        """Read some bytes into a buffer as `recv` returns them, and return how many.

        Raises
        ------
        ssl.SSLError, OSError
        """
        # Typed as if it returned the bytes themselves.
        return self._read(lambda: cast(int, self._tls.read(len(buffer), buffer)), len(buffer), 0)

    def send(self, data: memoryview | bytes) -> int:
        """Send some of these bytes and return how many; where it raises, it has to be called with them again.

        Raises
        ------
        ssl.SSLError, OSError
        """
        if not self._under_way:
            self._under_way = self._tls.write(data[:RECORD])
        self._flush()
        sent, self._under_way = self._under_way, 0
        return sent

    def pending(self) -> int:
        """Return how many bytes were taken off the socket and not returned yet, deciphered or not."""
        return self._tls.pending() + self._incoming.pending

    def end(self) -> None:
        """Tell the other end that no more is sent, as far as that is possible now."""
        with contextlib.suppress(OSError, ValueError):
            self._tls.unwrap()  # would wait for the other end to say it too
        self._flush_if_possible()

    def getpeercert(self) -> Mapping[str, Any] | None:
        """Return the verified certificate of the other end, if it showed one; see `ssl.SSLSocket.getpeercert`."""
        return self._tls.getpeercert()

    def _read(self, act: Callable[[], _Result], most: int, nothing: _Result) -> _Result:
        try:
            result = self._step(act, most)
        except ssl.SSLEOFError:
            return nothing
        self._of_its_own = 0
        return result

    def _step(self, act: Callable[[], _Result], most: int) -> _Result:
        """Do something with what is here and at most so many bytes more, and send what TLS has to say to it."""
        self._flush()
        try:
            return self._with_more(act, most)
        except ssl.SSLWantReadError:
            self._flush()
            raise
        finally:
            self._flush_if_possible()

    def _with_more(self, act: Callable[[], _Result], most: int) -> _Result:
        try:
            return act()
        except ssl.SSLWantReadError:
            self._pull(most)
            return act()

    def _pull(self, size: int) -> None:
        if self._of_its_own > self._most_of_its_own:
            raise NothingButTls
        try:
            block = self._sock.recv(size)
        except BlockingIOError:
            raise ssl.SSLWantReadError from None
        if not block:
            self._incoming.write_eof()
            return
        self._of_its_own += len(block)
        self._incoming.write(block)

    def _flush(self) -> None:
        self._unsent += self._outgoing.read()
        try:
            while self._unsent:
                del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            raise ssl.SSLWantWriteError from None

    def _flush_if_possible(self) -> None:
        with contextlib.suppress(OSError):
            self._flush()
