"""Connections that look for the answer while they send: a refusal need not wait for the end of a body.

RFC 9112, section 9.5, asks for that. urllib3 reads an answer early only where the server
has closed the connection, and gives a block of a body no more time than connecting may take.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any, Final

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from fedtier.bodies import BLOCK, FilePart, cut_short

_SLICE: Final = 1 << 16
"""Bytes that are handed to TLS at a time: it returns when all of them are under way."""
_NOT_BY_THE_KERNEL: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What sendfile(2) answers for files of file systems from which the kernel cannot send."""
_INFORMATIONAL: Final = b"HTTP/1.1 1"
_PROMPT: Final = selectors.SelectSelector if sys.platform == "win32" else selectors.PollSelector
"""What waits for one socket at the least cost: it takes no descriptor of its own."""
_MOMENT: Final = 0.1
"""Seconds until another look at the first bytes of an answer, where they are too few to tell what it is."""


class AttentiveAdapter(HTTPAdapter):
    """Sends bodies in large blocks, and reads an answer that comes before the end of one.

    Over TLS it does so only where the server has closed the connection: what lies
    ready there may be a session ticket as well. Behind a SOCKS proxy urllib3 sends as it always does.

    Parameters
    ----------
    silence : float
        Seconds in which at least some bytes of a body have to get through.
    also_trusted : Path, optional
        PEM file of authorities that are trusted beside those that the request names; read for each connection.
    """

    def __init__(self, silence: float, also_trusted: Path | None = None) -> None:
        self._pools = _pools(silence, also_trusted)
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools for servers that are asked directly."""
        super().init_poolmanager(*args, **options, blocksize=BLOCK)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the pools for servers behind a proxy."""
        if proxy.lower().startswith("socks"):
            return super().proxy_manager_for(proxy, **options)  # its connections are made in a way of their own
        manager = super().proxy_manager_for(proxy, **options, blocksize=BLOCK)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pools(silence: float, also_trusted: Path | None) -> dict[str, Any]:
    """Return urllib3's pools by scheme, with connections of ours."""

    class Plain(_Attentive):
        _silence = silence

    class Secure(_Attentive, HTTPSConnection):
        _silence = silence

        def connect(self) -> None:
            if also_trusted is not None:
                self.ca_cert_data = also_trusted.read_text(encoding="ascii", errors="replace")
            super().connect()

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class _Attentive(HTTPConnection):
    """Stops sending a body as soon as its answer comes, and takes no other request then."""

    _silence: float
    _looks = True
    _head_is_due = True
    _cut_short = False

    def connect(self) -> None:
        """Connect anew."""
        self._cut_short = False
        super().connect()

    @property
    def is_connected(self) -> bool:
        """Whether another request may go this way: not where the server may still wait for the rest of a body."""
        return not self._cut_short and super().is_connected

    def putrequest(self, *args: Any, **options: Any) -> None:
        """Begin a request."""
        self._looks = self._head_is_due = True
        super().putrequest(*args, **options)

    def send(self, data: Any) -> None:
        """Send a part of a request: first its head, then bytes or parts of a file.

        Raises
        ------
        BrokenPipeError
            The answer is there already; urllib3 takes this error for a reason to read it.
        TimeoutError
            No byte got through.
        ConnectionAbortedError
            The file is shorter than it was.
        """
        if self.sock is None:
            self.connect()
        self.sock.settimeout(self._silence)
        is_plain = type(self.sock) is socket.socket  # TLS has other types, also where it is within TLS
        if self._head_is_due and is_plain:
            self._head_is_due = False
            self.sock.sendall(data)  # nothing is answered before
        elif isinstance(data, FilePart) and is_plain and sys.platform != "win32":
            self._send_unread(data)
        else:
            self._send_blocks(data, is_plain)

    def _send_blocks(self, data: Any, is_plain: bool) -> None:
        for block in data if isinstance(data, FilePart) else (data,):
            self._send_block(memoryview(block), is_plain)

    def _send_unread(self, part: FilePart) -> None:
        """Have the kernel send a part of a file, without a copy of it here, where it can do that."""
        at = part.start
        with _PROMPT() as selector:
            selector.register(self.sock, selectors.EVENT_WRITE)
            while at < part.stop:
                self._await_room(selector)
                try:
                    sent = os.sendfile(self.sock.fileno(), part.file.fileno(), at, part.stop - at)
                except BlockingIOError:  # the room is gone again, as happens where memory is short
                    continue
                except OSError as error:
                    if error.errno not in _NOT_BY_THE_KERNEL:
                        raise
                    self._send_blocks(FilePart(part.file, at, part.stop), is_plain=True)
                    return
                if not sent:
                    raise cut_short()
                at += sent

    def _send_block(self, rest: memoryview, is_plain: bool) -> None:
        with _PROMPT() as selector:
            selector.register(self.sock, selectors.EVENT_WRITE)
            while rest:
                if is_plain:
                    self._await_room(selector)
                rest = rest[self.sock.send(rest) if is_plain else self._send_securely(rest[:_SLICE]) :]

    def _send_securely(self, data: memoryview) -> int:
        """Send over TLS, whose errors urllib3 does not take for a reason to read the answer.

        Raises
        ------
        BrokenPipeError
            The server has closed the connection; its answer, or why it wants none, may be there.
        """
        try:
            return int(self.sock.send(data))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError) as error:
            self._cut_short = True
            raise BrokenPipeError("the server closed the connection before the end of the body") from error

    def _await_room(self, selector: selectors.BaseSelector) -> None:
        """Return when bytes can be sent, unless the answer comes first."""
        until = time.monotonic() + self._silence
        while (left := until - time.monotonic()) > 0:
            selector.modify(self.sock, selectors.EVENT_WRITE | (selectors.EVENT_READ if self._looks else 0))
            ready = selector.select(left)
            if ready and not ready[0][1] & selectors.EVENT_READ:
                return
            if ready and not self._can_tell():
                selector.modify(self.sock, selectors.EVENT_WRITE)  # there is something to read all the time
                if selector.select(min(_MOMENT, left)):
                    return
        raise TimeoutError("timed out")

    def _can_tell(self) -> bool:
        """Look at what there is to read; return whether it is enough to tell that it is not the answer.

        Raises
        ------
        BrokenPipeError
            It is the answer, or there is none to come.
        """
        begun = self.sock.recv(len(_INFORMATIONAL), socket.MSG_PEEK)
        if not begun or not _INFORMATIONAL.startswith(begun):
            self._cut_short = True
            raise BrokenPipeError("the server answered before the end of the body")
        if begun != _INFORMATIONAL:
            return False
        self._looks = False  # the answer itself is still to come, and would not be told from this one
        return True
