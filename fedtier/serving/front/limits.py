"""What a server bears from those who connect to it; every bound of the front has its one place here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_MIN_RATE: Final = 16 << 10
"""Bytes per second. Any way on which a model is worth sending is faster, EDGE included; and whoever wants to keep 64
transfers busy has to move a megabyte every second."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much, how many and how long.

    Parameters
    ----------
    connections : int
        Open at once, also those that are only being closed.
    files : int
        Of bodies that are held open at once by whoever adds them up; connections leave room for them.
    share : float
        The part of them that one address may have. Behind a load balancer all clients have its address: a quarter is
        still many times what the threads can serve, and a connection beyond it costs an idle one, not an answer.
    head_bytes : int
        Of a request line with its headers; a client's token and digest take a tenth.
    head_seconds : float
        For the TLS handshake and the first head of a connection, or for a later head from its first byte on.
    tls_bytes : int
        In a row that are of TLS itself; four of its longest records, each of which has to be there whole to be read.
    idle_seconds : float
        Between an answer and the next request.
    drain_bytes, drain_seconds : int, float
        Of a body that nobody wants: so much is dropped before its sender is cut off, so that it sees the answer.
    flush_seconds : float
        For the end of a small answer, which is held for a slow reader without a thread.
    flush_bytes : int
        What is held for one at most.
    min_rate : int
        Bytes per second that a body has to move, either way; 0 for any.
    rate_seconds : float
        How long a body may stay behind that, also at its start. A lost packet sent four times takes 15 seconds.
    silence : float
        Seconds without a byte that are borne where there is no least rate.
    """

    connections: int = 4096
    files: int = 0
    share: float = 0.25
    head_bytes: int = 16 << 10
    head_seconds: float = 10.0
    tls_bytes: int = 1 << 16
    idle_seconds: float = 75.0
    drain_bytes: int = 1 << 20
    drain_seconds: float = 2.0
    flush_seconds: float = 20.0
    flush_bytes: int = 1 << 16
    min_rate: int = DEFAULT_MIN_RATE
    rate_seconds: float = 20.0
    silence: float = 60.0

    @property
    def per_address(self) -> int:
        """How many connections one address may have."""
        return max(1, int(self.connections * self.share))
