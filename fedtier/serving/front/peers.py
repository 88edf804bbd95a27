"""One connection as the poller sees it: what can be done on it now, and what it has to wait for."""

from __future__ import annotations

import contextlib
import ipaddress
import selectors
import socket
import ssl
import struct
from typing import Any, Final

from gunicorn.config import Config
from gunicorn.http import RequestParser

from fedtier.serving.front.flows import Inflow, Wire, send_now
from fedtier.serving.front.heads import Head
from fedtier.serving.front.limits import Limits
from fedtier.serving.front.secure import SecureSocket

DONE: Final = 0
"""There is no event to wait for."""
_BLOCK: Final = 1 << 14
_DROPPED_AT_ONCE: Final = 1 << 18
"""Bytes after which others have their turn."""
_RESET: Final = struct.pack("ii", 1, 0)
_IPV6_SITE: Final = 64
"""Bits of an IPv6 address that a site cannot choose; the rest its hosts choose freely."""


class Peer:
    """A connection that never blocks while the poller has it.

    Each step returns the event that it has to wait for, or `DONE`, and raises `OSError` where the connection is lost.

    Parameters
    ----------
    sock : socket.socket
        Belongs to the peer from now on.
    client, server : Any
        The addresses of both ends.
    config : Config
        gunicorn's.
    limits : Limits
    tls : ssl.SSLContext, optional

    Raises
    ------
    OSError
        It is lost already.
    """

    def __init__(
        self, sock: socket.socket, client: Any, server: Any, config: Config, limits: Limits, tls: ssl.SSLContext | None
    ) -> None:
        self.client = client
        self.server = server
        self.address = address_of(client)
        self.head = Head(limits.head_bytes)
        self.unsent = bytearray()
        """The end of an answer that the reader has no room for yet."""
        self.stays = False
        """Whether another request may follow, once all of the answer is sent."""
        self.events = 0
        """What the poller waits for; 0 for nothing."""
        self._limits = limits
        self._dropped = 0
        self._raw = sock
        sock.setblocking(False)
        self._is_known = False
        self.sock: Wire = sock if tls is None else SecureSocket(sock, tls, most_of_its_own=limits.tls_bytes)
        self.inflow = Inflow(self.sock, limits)
        self.parser = RequestParser(config, sock, client)
        self.parser.unreader = self.inflow

    @property
    def is_secure(self) -> bool:
        """Whether it is TLS."""
        return isinstance(self.sock, SecureSocket)

    def read_head(self) -> int:
        """Take what there is of a request's head, after TLS is agreed on."""
        try:
            if isinstance(self.sock, SecureSocket) and not self._is_known:
                self.sock.do_handshake()
                self._is_known = True
            while not (self.head.is_complete or self.head.is_too_large):
                block = self.sock.recv(_BLOCK)
                if not block:
                    raise ConnectionResetError("no request came")
                self.head.add(block)
        except ssl.SSLWantWriteError:
            return selectors.EVENT_WRITE
        except (BlockingIOError, ssl.SSLWantReadError):
            return selectors.EVENT_READ
        return DONE

    def flush(self) -> int:
        """Send what is left of an answer."""
        return send_now(self.sock, self.unsent)

    def answer_plainly(self, answer: bytes) -> None:
        """Answer, before anything else was sent, one who does not speak TLS; a few bytes always have room by then."""
        with contextlib.suppress(OSError):
            self._raw.send(answer)

    def begin_next(self) -> None:
        """Make ready for the next request, of which there may be something already."""
        self.head.add(self.inflow.take_buffered())

    @property
    def has_unseen_bytes(self) -> bool:
        """Whether there are bytes that make no socket ready: they were taken off it before."""
        return self.head.is_begun or (isinstance(self.sock, SecureSocket) and self.sock.pending() > 0)

    def part(self) -> None:
        """Say that no more is sent. What still comes is only dropped, and is not even deciphered."""
        if isinstance(self.sock, SecureSocket):
            self.sock.end()
        self._raw.shutdown(socket.SHUT_WR)

    def drop(self) -> int:
        """Drop what came, so that its sender sees the answer and no reset; up to a limit."""
        upto = min(self._dropped + _DROPPED_AT_ONCE, self._limits.drain_bytes)
        try:
            while self._dropped < upto:
                block = self._raw.recv(4 * _BLOCK)
                if not block:
                    return DONE
                self._dropped += len(block)
        except BlockingIOError:
            return selectors.EVENT_READ
        return DONE if self._dropped >= self._limits.drain_bytes else selectors.EVENT_READ

    def close(self, *, at_once: bool = False) -> None:
        """Close the connection; at once drops also what the kernel still has to send."""
        with contextlib.suppress(OSError):
            if at_once:
                self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._raw.close()

    def break_off(self) -> None:
        """Have whatever a thread still does with the connection fail."""
        with contextlib.suppress(OSError):
            self._raw.shutdown(socket.SHUT_RDWR)


def address_of(client: Any) -> str:
    """Return what connections are counted by: an address, or the site of an IPv6 address.

    Parameters
    ----------
    client : Any
        The address of the other end, as `socket.accept` has it.
    """
    try:
        address = ipaddress.ip_address(client[0])
    except (ValueError, IndexError, TypeError):
        return str(client)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), _IPV6_SITE), strict=False))
    return str(address)
