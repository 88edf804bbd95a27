"""HTTP to the byte: what is sent need not be HTTP, and what comes back is taken apart."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HANG: Final = 10.0
"""Seconds without a byte of an answer after which a server is taken to hang."""


@dataclass(frozen=True)
class Answer:
    """One answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def exchange(address: tuple[str, int], sent: bytes) -> list[Answer]:
    """Send bytes and nothing after them, and return all answers that come until the server closes.

    Raises
    ------
    TimeoutError
        The server neither answers nor closes.
    """
    with socket.create_connection(address, timeout=HANG) as connection:
        got = bytearray()
        with contextlib.suppress(ConnectionError):  # it refuses before it has read all of it
            connection.sendall(sent)
        with contextlib.suppress(OSError):  # it has closed by now
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while block := connection.recv(1 << 16):
                got += block
    return _answers(bytes(got))


def _answers(got: bytes) -> list[Answer]:
    found: list[Answer] = []
    while got:
        head, end, rest = got.partition(b"\r\n\r\n")
        assert end, f"an answer broke off: {got[:300]!r}"
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        status = int(line.split(" ")[1])
        length = int(headers.get("content-length", "0"))
        assert len(rest) >= length, f"an answer broke off: {got[:300]!r}"
        if status >= 200:  # before it come informational ones
            found.append(Answer(status, headers, rest[:length]))
        got = rest[length:]
    return found
