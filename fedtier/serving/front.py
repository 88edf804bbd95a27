"""The front of a server: who connects waits here, without a thread, until there is a request to answer.

gunicorn gives a thread to every connection as soon as it is made. Here one poller reads heads, shakes hands for TLS,
sends the ends of answers to slow readers and drops bodies that were refused; each with a deadline, and
none of them can keep another waiting. A thread of the pool is taken for a request whose head is complete.
"""

from __future__ import annotations

import enum
import errno
import resource
import selectors
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Final

from gunicorn.workers.gthread import ThreadWorker

from fedtier.serving.deadlines import Deadlines
from fedtier.serving.exchange import HEAD_TOO_LARGE, Exchanges, refusal
from fedtier.serving.limits import Limits
from fedtier.serving.peers import DONE, Peer, address_of

_ACCEPTED_AT_ONCE: Final = 32
_OTHER_DESCRIPTORS: Final = 128
"""Files and connections of the server's own; each thread may have two more."""
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE: Final = 1.0
"""Seconds without new connections, where there is no descriptor for one and no one to take it from."""


class Stage(enum.Enum):
    """What a connection waits for."""

    HEAD = enum.auto()
    """The first request's head, or the rest of one that has begun."""
    IDLE = enum.auto()
    """Another request."""
    FLUSH = enum.auto()
    """Room at the reader for the end of an answer."""
    DRAIN = enum.auto()
    """The end of what its sender still sends."""


_SILENT: Final = (Stage.HEAD, Stage.IDLE)
"""Who is in these has nothing to lose: a client whose connection is closed asks again."""


def front_worker(limits: Limits, tls: ssl.SSLContext | None) -> type[FrontWorker]:
    """Return the worker class that gunicorn is to start.

    Parameters
    ----------
    limits : Limits
    tls : ssl.SSLContext or None
        Of the server; it learns to speak HTTP/1.1 only.
    """
    if tls is not None:
        tls.set_alpn_protocols(["http/1.1"])

    class Configured(FrontWorker):
        _limits = limits
        _tls = tls

    return Configured


class FrontWorker(ThreadWorker):
    """A gunicorn worker with a poller in front of its threads.

    Told to end, it stops listening at once, lets go of everyone who has not sent a request, and answers the others.
    """

    _limits: ClassVar[Limits]
    _tls: ClassVar[ssl.SSLContext | None]

    def init_process(self) -> None:
        """Serve until the end."""
        limits = _that_fit(self._limits, self.cfg.threads)
        self._most, self._most_per_address = limits.connections, limits.per_address
        self._peers: set[Peer] = set()
        self._by_address: Counter[str] = Counter()
        self._accept_after = self._pulse_at = 0.0
        self._deadlines: Deadlines[Stage, Peer] = Deadlines(
            {
                Stage.HEAD: limits.head_seconds,
                Stage.IDLE: limits.idle_seconds,
                Stage.FLUSH: limits.flush_seconds,
                Stage.DRAIN: limits.drain_seconds,
            }
        )
        super().init_process()

    def run(self) -> None:
        """Take turns at waiting, until told to end and the last one is answered."""
        self._exchanges = Exchanges(self.wsgi, self.cfg, self._limits, lambda: self.alive)
        wakes = self.method_queue.fileno()
        assert wakes is not None
        self.poller.register(wakes, selectors.EVENT_READ, self.method_queue.run_callbacks)
        while self.alive:
            self.set_accept_enabled(self._has_room())
            self._take_turn()
        self.alive = False
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()  # on a shared port another process has those who come now
        until = time.monotonic() + self.cfg.graceful_timeout
        self._let_silent_go()
        while self._peers and time.monotonic() < until:
            self._take_turn()
            self._let_silent_go()
        self._end()

    def _end(self) -> None:
        for peer in list(self._peers):
            if self._deadlines.stage_of(peer) is None:
                peer.break_off()
            else:
                self._close(peer)
        self.tpool.shutdown(wait=False)
        self.poller.close()  # but not the queue: threads that end only now still write to its descriptor

    def _take_turn(self) -> None:
        upcoming = self._deadlines.next()
        left = 1.0 if upcoming is None else min(max(upcoming - time.monotonic(), 0.0), 1.0)
        for key, _ in self.poller.select(left):
            key.data(key.fileobj)
        now = time.monotonic()
        for peer in self._deadlines.expired(now):
            self._close(peer, at_once=bool(peer.unsent))
        if now >= self._pulse_at:
            self._pulse_at = now + 1.0
            self.notify()
            self.alive = self.alive and self.is_parent_alive()

    # Coming in

    def _has_room(self) -> bool:
        if time.monotonic() < self._accept_after:
            return False
        return len(self._peers) < self._most or self._deadlines.longest(_SILENT) is not None

    def accept(self, listener: socket.socket) -> None:
        """Take in who waits at the door."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, client = listener.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED and not self._make_room():
                    self._accept_after = time.monotonic() + _PAUSE
                return
            self._welcome(sock, client, listener.getsockname())

    def _welcome(self, sock: socket.socket, client: Any, server: Any) -> None:
        if not self._has_place_for(address_of(client)):
            sock.close()
            return
        try:
            peer = Peer(sock, client, server, self.cfg, self._limits, self._tls)
        except (OSError, ValueError):
            return  # gone before it said anything
        self._peers.add(peer)
        self._by_address[peer.address] += 1
        self._deadlines.start(peer, Stage.HEAD, time.monotonic())
        self._watch(peer, selectors.EVENT_READ)

    def _has_place_for(self, address: str) -> bool:
        """Say whether one more may connect from there, and make room for it if need be."""
        if self._by_address[address] >= self._most_per_address:
            return self._make_room(lambda peer: peer.address == address)
        return len(self._peers) < self._most or self._make_room()

    def _make_room(self, wanted: Callable[[Peer], bool] = lambda _: True) -> bool:
        """Let go of who has been silent for longest; first those who never sent a whole request."""
        longest = self._deadlines.longest(_SILENT, wanted)
        if longest is None:
            return False
        self._close(longest)
        return True

    # Going on

    def _watch(self, peer: Peer, events: int) -> None:
        if peer.events == events:
            return
        if peer.events:
            self.poller.unregister(peer.sock)
        if events:
            self.poller.register(peer.sock, events, partial(self._go_on, peer))
        peer.events = events

    def _go_on(self, peer: Peer, _: object = None) -> None:
        """Do what can be done on a connection now."""
        stage = self._deadlines.stage_of(peer)
        if stage is None:
            self._watch(peer, 0)  # a thread has it, or it was let go of in the same turn
            return
        try:
            events = {Stage.FLUSH: peer.flush, Stage.DRAIN: peer.drop}.get(stage, peer.read_head)()
        except ssl.SSLError:
            self._end_talk(peer, stage)
            return
        except (OSError, ValueError):
            self._close(peer)
            return
        if events == DONE:
            self._step_done(peer, stage)
            return
        if stage is Stage.IDLE and peer.head.is_begun:
            self._deadlines.start(peer, Stage.HEAD, time.monotonic())
        self._watch(peer, events)

    def _end_talk(self, peer: Peer, stage: Stage) -> None:
        """Have the other end read what TLS told it of the error, where there was no request yet; then close."""
        if stage in _SILENT:
            peer.stays = False
            self._settle(peer)
        else:
            self._close(peer)

    def _step_done(self, peer: Peer, stage: Stage) -> None:
        if stage is Stage.DRAIN:
            self._close(peer)
        elif stage is Stage.FLUSH:
            self._settle(peer)
        elif peer.head.is_too_large:
            peer.unsent += refusal(HEAD_TOO_LARGE)
            peer.stays = False
            self._settle(peer)
        else:
            self._deadlines.stop(peer)
            peer.inflow.unread(peer.head.take())
            answered = self.tpool.submit(self._exchanges.answer, peer)
            answered.add_done_callback(lambda future: self.method_queue.defer(self._answered, peer, future))

    def _answered(self, peer: Peer, future: Future[None]) -> None:
        if future.exception() is None:
            self._settle(peer)
        else:
            self._close(peer, at_once=True)

    def _settle(self, peer: Peer) -> None:
        """Have a connection wait for what comes after an answer."""
        now = time.monotonic()
        try:
            if peer.unsent:
                self._deadlines.start(peer, Stage.FLUSH, now)
                self._go_on(peer)
            elif peer.stays:
                peer.begin_next()
                self._deadlines.start(peer, Stage.HEAD if peer.head.is_begun else Stage.IDLE, now)
                if peer.has_unseen_bytes:
                    self._go_on(peer)
                else:
                    self._watch(peer, selectors.EVENT_READ)
            else:
                peer.part()
                self._deadlines.start(peer, Stage.DRAIN, now)
                self._go_on(peer)
        except OSError:
            self._close(peer)

    # Going away

    def _let_silent_go(self) -> None:
        """Close the connections on which there is no whole request; one whose request is there just now is answered."""
        for peer in self._deadlines.waiting(_SILENT):
            self._go_on(peer)
            if self._deadlines.stage_of(peer) in _SILENT:
                self._close(peer)

    def _close(self, peer: Peer, *, at_once: bool = False) -> None:
        if peer not in self._peers:
            return
        self._watch(peer, 0)
        self._deadlines.stop(peer)
        self._peers.remove(peer)
        self._by_address[peer.address] -= 1
        if not self._by_address[peer.address]:
            del self._by_address[peer.address]
        peer.close(at_once=at_once)


def _that_fit(limits: Limits, threads: int) -> Limits:
    """Return limits with as many connections as the process may have descriptors for; it gets as many as it may."""
    others = _OTHER_DESCRIPTORS + 2 * threads
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + others
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return limits
    return replace(limits, connections=max(1, min(limits.connections, soft - others)))
