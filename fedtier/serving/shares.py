"""What one sender may take of a server: transfers at once, requests per second, memory for what it is to parse.

Nobody waits for a slot or for a request's turn: who asks for more is told when to come again, before its body is read.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from fedtier.problems import SlowDown, Unavailable
from fedtier.serving.buckets import TokenBuckets
from fedtier.tokens import Bearer

SHARE: Final = 3
"""Transfers of one client at once: the one that counts; one of which only the client knows so far that its connection
broke; and one that a load balancer sent twice. A client that honestly has a fourth is asked to come again in a second,
and finds its update where it was."""
_CLIENTS_AT_LEAST: Final = 4
"""With few slots a share is smaller, so that so many clients together are needed to take all."""
PARSED_AT_ONCE: Final = 32 << 20
"""Bytes of JSON headers: two of the longest. Parsing takes up to twenty times as much, and a list of contributors
eight times. A worker's own batch of 64 has one of 16 KiB."""


def client_of(bearer: Bearer | None) -> str | None:
    """Return the client whose share a request is taken from; None where there is none.

    Workers are trusted with more than a share of a server's threads: they may all have one token, and each of their
    transfers stands for many clients. Operators have none either.
    """
    return bearer.subject if bearer is not None and bearer.role == "client" else None


class TransferSlots:
    """Keeps threads free for everything but uploads and downloads, and slots free for every client.

    Parameters
    ----------
    slots : int
        How many bodies may be received, waited for or sent at once.
    share : int
        How many of them one client may take; less where there are few.
    """

    def __init__(self, slots: int, *, share: int = SHARE) -> None:
        self.total = slots
        self._free = slots
        self._share = max(1, min(share, slots // _CLIENTS_AT_LEAST))
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """How many are held now."""
        return self.total - self._free

    def hold(self, client: str | None) -> Callable[[], None]:
        """Take a slot and return what frees it, to be called once.

        Parameters
        ----------
        client : str or None
            Whose share it is taken from; None has no share.

        Raises
        ------
        SlowDown
            The client has its share.
        Unavailable
            All are taken.
        """
        with self._lock:
            if client is not None and self._taken[client] >= self._share:
                raise SlowDown(
                    f"{self._taken[client]} transfers of {client!r} are under way, and no client may have more at "
                    "once; wait for their answers",
                    retry_after=1,
                )
            if not self._free:
                raise Unavailable("every transfer slot of this server is taken", retry_after=1)
            self._free -= 1
            if client is not None:
                self._taken[client] += 1
        return lambda: self._release(client)

    def _release(self, client: str | None) -> None:
        with self._lock:
            self._free += 1
            if client is not None:
                self._taken[client] -= 1
                if not self._taken[client]:
                    del self._taken[client]

    @contextmanager
    def take(self, client: str | None) -> Iterator[None]:
        """Hold a slot while the block runs.

        Raises
        ------
        SlowDown
            The client has its share.
        Unavailable
            All are taken.
        """
        release = self.hold(client)
        try:
            yield
        finally:
            release()


class RequestRate:
    """Refuses what a client asks beyond its share of requests.

    Parameters
    ----------
    buckets : TokenBuckets
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, buckets: TokenBuckets, clock: Callable[[], float]) -> None:
        self._buckets = buckets
        self._clock = clock
        self._lock = threading.Lock()

    def count(self, client: str | None) -> None:
        """Count one request of a client; of nobody in particular none is counted.

        Raises
        ------
        SlowDown
        """
        if client is None:
            return
        with self._lock:
            wait = self._buckets.take(client, self._clock())
        if wait:
            raise SlowDown(f"{client!r} asks too often; ask as seldom as poll_after says", retry_after=max(1.0, wait))


class ParsingRoom:
    """Bounds the memory that headers take while they are parsed, and the contributors in them until they are counted.

    Who finds no room waits, holding none: so whoever has some gets done.

    Parameters
    ----------
    size : int
        Bytes of headers that are there at once.
    """

    def __init__(self, size: int = PARSED_AT_ONCE) -> None:
        self._size = size
        self._free = size
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        """Bytes that are not taken."""
        return self._free

    @contextmanager
    def take(self, wanted: int) -> Iterator[None]:
        """Hold room for so many bytes, or for all there are, while the block runs."""
        wanted = min(wanted, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()
