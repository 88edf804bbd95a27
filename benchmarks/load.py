"""Many clients played by one thread: each has a kept connection, and asks what it is told to.

In: requests, each with the client that asks it and when. Out: answers, with their seconds. Bodies are sent
from files with ``sendfile``, and answers read into one buffer, so that a load costs its own machine little beside what
it costs the servers. Linux only: it waits with an edge-triggered ``epoll``.
"""

from __future__ import annotations

import heapq
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from benchmarks.load_connection import Answer, Connection, Wanted

_BLOCK: Final = 1 << 20
_ANY: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_CLIENTS_PER_ADDRESS: Final = 500
"""A server gives one address a part of its connections; loopback has many addresses."""


class Crowd:
    """Clients that ask one server address.

    Parameters
    ----------
    host : str
    port : int
    connections : int
        At most so many; client k uses connection k modulo their number, one request at a time.
    """

    def __init__(self, host: str, port: int, connections: int) -> None:
        self._poller = select.epoll()
        self._all = [
            Connection((host, port), f"127.0.0.{2 + number // _CLIENTS_PER_ADDRESS}", self._register)
            for number in range(connections)
        ]
        self._by_descriptor: dict[int, Connection] = {}
        self._buffer = memoryview(bytearray(_BLOCK))

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._all:
            connection.close()
        self._poller.close()

    @property
    def reconnects(self) -> int:
        """How often a kept connection was found closed."""
        return sum(connection.reconnects for connection in self._all)

    def run(self, wanted: Iterable[Wanted], see: Callable[[Answer], Wanted | None], *, concurrent: int) -> None:
        """Ask until there is nothing left to ask.

        Parameters
        ----------
        wanted : iterable of Wanted
        see : callable
            Gets every answer, and may return what the client asks next.
        concurrent : int
            Requests under way at once, at most.

        Raises
        ------
        ConnectionError
        """
        waiting = [(one.at, order, one) for order, one in enumerate(wanted)]
        heapq.heapify(waiting)
        order, under_way = len(waiting), 0
        done: deque[Answer] = deque()
        while waiting or under_way:
            now = time.monotonic()
            while waiting and under_way < concurrent and waiting[0][0] <= now:
                under_way += 1
                self._begin(heapq.heappop(waiting)[2], done)
            if not done:
                patience = max(0.0, waiting[0][0] - now) if waiting and under_way < concurrent else None
                self._wait(patience, done)
            while done:
                under_way -= 1
                again = see(done.popleft())
                if again is not None:
                    order += 1
                    heapq.heappush(waiting, (again.at, order, again))

    def _begin(self, wanted: Wanted, done: deque[Answer]) -> None:
        connection = self._all[wanted.client % len(self._all)]
        if connection.is_busy:
            connection.queue.append(wanted)
            return
        connection.begin(wanted)
        self._move(connection, done)

    def _wait(self, patience: float | None, done: deque[Answer]) -> None:
        for descriptor, _ in self._poller.poll(patience):
            connection = self._by_descriptor[descriptor]
            if connection.number == descriptor:
                self._move(connection, done)

    def _move(self, connection: Connection, done: deque[Answer]) -> None:
        answer = connection.move(self._buffer)
        while answer is not None:
            done.append(answer)
            if not connection.queue:
                return
            connection.begin(connection.queue.popleft())
            answer = connection.move(self._buffer)

    def _register(self, connection: Connection, sock: socket.socket) -> None:
        self._by_descriptor[sock.fileno()] = connection
        self._poller.register(sock, _ANY)
