"""The front of a server: who connects waits here, without a thread, until there is a request to answer.

gunicorn gives a thread to every connection as soon as it is made. Here one poller reads heads, shakes hands for TLS,
sends the ends of answers to slow readers and drops bodies that were refused; each with a deadline, and
none of them can keep another waiting. A thread of the pool is taken for a request whose head is complete.
"""

from __future__ import annotations

import errno
import selectors
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, ClassVar, Final

from gunicorn.workers.gthread import ThreadWorker

from fedtier.serving.front.connection_metrics import FrontView
from fedtier.serving.front.connection_watch import ConnectionWatch
from fedtier.serving.front.deadlines import Deadlines
from fedtier.serving.front.descriptors import limits_that_fit
from fedtier.serving.front.exchange import HEAD_TOO_LARGE, PLAIN_HTTP, Exchanges, refusal
from fedtier.serving.front.limits import Limits
from fedtier.serving.front.peers import DONE, Peer, address_of
from fedtier.serving.front.stages import SILENT, TOO_LONG, Stage

_ACCEPTED_AT_ONCE: Final = 32
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE: Final = 1.0
"""Seconds without new connections, where there is no descriptor for one and no one to take it from."""


def front_worker(limits: Limits, tls: ssl.SSLContext | None, watch: Callable[[], ConnectionWatch]) -> type[FrontWorker]:
    """Return the worker class that gunicorn is to start.

    Parameters
    ----------
    limits : Limits
    tls : ssl.SSLContext or None
        Of the server; it learns to speak HTTP/1.1 only.
    watch : callable
        Returns who is told of connections, once the app is loaded.
    """
    if tls is not None:
        tls.set_alpn_protocols(["http/1.1"])

    class Configured(FrontWorker):
        _limits = limits
        _tls = tls
        _find_watch = staticmethod(watch)

    return Configured


class FrontWorker(ThreadWorker):
    """A gunicorn worker with a poller in front of its threads.

    Told to end, it stops listening at once, lets go of everyone who has not sent a request, and answers the others.
    """

    _limits: ClassVar[Limits]
    _tls: ClassVar[ssl.SSLContext | None]
    _find_watch: ClassVar[staticmethod[[], ConnectionWatch]]

    def init_process(self) -> None:
        """Serve until the end."""
        limits = limits_that_fit(self._limits, self.cfg.threads)
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
        self._observer = self._find_watch()
        self._observer.show(self._view)
        self._exchanges = Exchanges(self.wsgi, self.cfg, self._limits, lambda: self.alive, self._observer)
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
        for peer, stage in self._deadlines.expired(now):
            if stage in TOO_LONG:
                reason, detail = TOO_LONG[stage]
                self._observer.let_go(reason, peer.address, detail)
            self._close(peer, at_once=bool(peer.unsent))
        if now >= self._pulse_at:
            self._pulse_at = now + 1.0
            self.notify()
            self.alive = self.alive and self.is_parent_alive()

    def _view(self) -> FrontView:
        """Return how it stands; for other threads, so it may be of two moments."""
        waiting = {stage.value: self._deadlines.number(stage) for stage in Stage}
        requests = max(len(self._peers) - sum(waiting.values()), 0)
        return FrontView(self._most, self.cfg.threads, waiting, requests)

    # Coming in

    def _has_room(self) -> bool:
        if time.monotonic() < self._accept_after:
            return False
        return len(self._peers) < self._most or self._deadlines.longest(SILENT) is not None

    def accept(self, listener: socket.socket) -> None:
        """Take in who waits at the door."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, client = listener.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED and not self._make_room("no descriptor is free"):
                    self._accept_after = time.monotonic() + _PAUSE
                return
            self._welcome(sock, client, listener.getsockname())

    def _welcome(self, sock: socket.socket, client: Any, server: Any) -> None:
        self._observer.accepted()
        address = address_of(client)
        if not self._has_place_for(address):
            self._observer.let_go("turned_away", address, "all connections are taken, and none of them is silent")
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
            taken = f"its address has all of the {self._most_per_address} connections that it may"
            return self._make_room(taken, lambda peer: peer.address == address)
        return len(self._peers) < self._most or self._make_room(f"all {self._most} connections are taken")

    def _make_room(self, why: str, wanted: Callable[[Peer], bool] = lambda _: True) -> bool:
        """Let go of who has been silent for longest; first those who never sent a whole request."""
        longest = self._deadlines.longest(SILENT, wanted)
        if longest is None:
            return False
        self._observer.let_go("evicted", longest.address, f"silent for longest, and {why}")
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
        except ssl.SSLError as error:
            self._end_talk(peer, stage, error)
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

    def _end_talk(self, peer: Peer, stage: Stage, error: ssl.SSLError) -> None:
        """Have the other end read what is wrong, from TLS or else from us, where there was no request; then close."""
        if stage not in SILENT:
            self._close(peer)
            return
        if error.reason == "HTTP_REQUEST":
            self._observer.let_go("plain_http", peer.address, PLAIN_HTTP.detail)
            peer.answer_plainly(refusal(PLAIN_HTTP))
        elif not isinstance(error, ssl.SSLEOFError):  # who only goes away is no news
            self._observer.let_go("tls_failed", peer.address, str(error.reason).replace("_", " ").lower())
        peer.stays = False
        self._settle(peer)

    def _step_done(self, peer: Peer, stage: Stage) -> None:
        if stage is Stage.DRAIN:
            self._close(peer)
        elif stage is Stage.FLUSH:
            self._settle(peer)
        elif peer.head.is_too_large:
            self._observer.let_go("head_too_large", peer.address, HEAD_TOO_LARGE.detail)
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
        for peer in self._deadlines.waiting(SILENT):
            self._go_on(peer)
            if self._deadlines.stage_of(peer) in SILENT:
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
