"""Connections that look for the answer while they send: a refusal need not wait for the end of a body.

RFC 9112, section 9.5, asks for that. urllib3 reads an answer early only where the server
has closed the connection, and gives a block of a body no more time than connecting may take.
"""

from __future__ import annotations

import selectors
import socket
from typing import Any, Final

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

BLOCK: Final = 1 << 20
"""Bytes sent or received at a time, where urllib3 would take 16 KiB."""
_SLICE: Final = 1 << 16
"""Bytes that are handed to TLS at a time: it returns when all of them are under way."""
_MOMENT: Final = 0.05
"""Seconds until an answer of which only the first bytes came is looked at again."""
_INFORMATIONAL: Final = b"HTTP/1.1 1"


class AttentiveAdapter(HTTPAdapter):
    """Sends bodies in large blocks, and reads an answer that comes before the end of one.

    Over TLS it does so only where the server has closed the connection: what lies
    ready there may be a session ticket as well.

    Parameters
    ----------
    silence : float
        Seconds in which at least some bytes of a body have to get through.
    """

    def __init__(self, silence: float) -> None:
        self._pools = _pools(silence)
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools for servers that are asked directly."""
        super().init_poolmanager(*args, **options, blocksize=BLOCK)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        """Return the pools for servers behind a proxy; a SOCKS proxy has connections of its own kind."""
        manager = super().proxy_manager_for(proxy, **options, blocksize=BLOCK)
        if not str(proxy).lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager


def _pools(silence: float) -> dict[str, Any]:
    """Return urllib3's pools by scheme, with connections of ours."""

    class Plain(_Attentive):
        _silence = silence

    class Secure(_Attentive, HTTPSConnection):
        _silence = silence

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class _Attentive(HTTPConnection):
    """Stops sending a body as soon as its answer comes, and takes no other request then."""

    _silence: float
    _looks = True
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
        self._looks = True
        super().putrequest(*args, **options)

    def send(self, data: Any) -> None:
        """Send a part of a request.

        Raises
        ------
        BrokenPipeError
            The answer is there already; urllib3 takes this error for a reason to read it.
        TimeoutError
            No byte got through.
        """
        if self.sock is None:
            self.connect()
        self.sock.settimeout(self._silence)
        rest = memoryview(data)
        while rest:
            if type(self.sock) is socket.socket:
                self._await_room()
                rest = rest[self.sock.send(rest) :]
            else:
                rest = rest[self.sock.send(rest[:_SLICE]) :]

    def _await_room(self) -> None:
        """Return when bytes can be sent, unless the answer comes first."""
        left = self._silence
        while left > 0:
            reads = selectors.EVENT_READ if self._looks else 0
            ready = self._ready(selectors.EVENT_WRITE | reads, left)
            if not ready:
                break
            if not ready & selectors.EVENT_READ:
                return
            seen = self.sock.recv(len(_INFORMATIONAL), socket.MSG_PEEK)
            if seen == _INFORMATIONAL:
                self._looks = False  # the answer itself is still to come, and would not be told from this one
            elif seen and _INFORMATIONAL.startswith(seen):  # its first bytes came alone
                if self._ready(selectors.EVENT_WRITE, _MOMENT):
                    return
                left -= _MOMENT
            else:
                self._cut_short = True
                raise BrokenPipeError("the server answered before the end of the body")
        raise TimeoutError("timed out")

    def _ready(self, events: int, seconds: float) -> int:
        """Return which of some events there are, waiting for so long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, events)
            ready = selector.select(seconds)
        return ready[0][1] if ready else 0
