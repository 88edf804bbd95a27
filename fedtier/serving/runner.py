"""Runs an aggregator's app under gunicorn: one process, many threads, one listening socket.

gunicorn's arbiter starts the process again when it dies. The process ends with the
arbiter, so that a killed aggregator leaves nothing behind that holds its port.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from fedtier.problems import StartupError
from fedtier.serving.front.connection_watch import ConnectionWatch
from fedtier.serving.front.limits import Limits
from fedtier.serving.front.worker import front_worker
from fedtier.tls import certificate_end

_BOOT_FAILED: Final = 4
"""gunicorn's arbiter stops for good, with this status, when its process exits with it."""
_DONE: Final = signal.SIGUSR2
"""Sent to gunicorn's arbiter by its own process."""
_PR_SET_PDEATHSIG: Final = 1
_MALLOC_SETTINGS: Final = {
    -8: 2,  # M_ARENA_MAX
    -3: 2 << 20,  # M_MMAP_THRESHOLD: sums are given back when they are freed, the blocks of bodies are used again
    -1: 4 << 20,  # M_TRIM_THRESHOLD
}


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How an aggregator listens.

    Parameters
    ----------
    program : str
        ``master`` or ``worker``.
    host : str
    port : int
        0 takes a free one.
    threads : int
        Requests served at once.
    grace : int
        Seconds that open requests get after SIGTERM.
    share_port : bool
        Let several processes listen on one port (`SO_REUSEPORT`); the kernel spreads connections.
    stopped_status : int
        Exit status after SIGTERM.
    announce_json : bool
        Announce the address as JSON instead of a sentence.
    tls : ssl.SSLContext or None
        How TLS is done, from `fedtier.tls.server_context`; None speaks plain HTTP.
    limits : Limits
        What is borne from those who connect.
    """

    program: str
    host: str
    port: int
    threads: int = 64
    grace: int = 30
    share_port: bool = False
    stopped_status: int = 0
    announce_json: bool = False
    tls: ssl.SSLContext | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Service:
    """What is served.

    Parameters
    ----------
    app : Flask
    close : callable
        Ends it.
    watch : ConnectionWatch
        Sees what becomes of those who connect.
    """

    app: Flask
    close: Callable[[], None]
    watch: ConnectionWatch


def serve(options: ServerOptions, build: Callable[[], Service]) -> NoReturn:
    """Listen and serve until SIGTERM; does not return.

    Parameters
    ----------
    options : ServerOptions
    build : callable
        Makes what is served, in the process that serves it.

    Raises
    ------
    StartupError
        The address cannot be listened on.
    """
    listener = listen(options)
    _bound_free_memory()
    gc.freeze()  # what is loaded by now stays in pages that both processes share: no collection writes to them
    _Gunicorn(options, listener, build).run()
    sys.exit(0)


def listen(options: ServerOptions) -> socket.socket:
    """Return a socket bound to the address.

    Raises
    ------
    StartupError
        The port is in use, or the host is none of this machine's.
    """
    where = f"{options.host}:{options.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if options.share_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        raise StartupError(
            f"cannot listen on {where}: {error.strerror}; choose another address with --host and --port"
        ) from None
    return listener


def stop_gracefully() -> None:
    """End the whole aggregator as SIGTERM would, from inside its process, but always with status 0: it is done."""
    os.kill(os.getppid(), _DONE)


def stop_at_once(reason: str) -> NoReturn:
    """End the whole aggregator with a clear message: going on could break a promise."""
    structlog.get_logger().critical("stopped", reason=reason)
    print(f"Error: {reason}", file=sys.stderr, flush=True)
    os._exit(_BOOT_FAILED)


class _Arbiter(Arbiter):
    """gunicorn's arbiter, which starts no second process beside the first, and says by its status why it ended."""

    def __init__(self, app: BaseApplication, stopped_status: int) -> None:
        self._has_terminal = sys.stderr.isatty()
        self._stopped_status = stopped_status
        self._status = 0
        super().__init__(app)

    def handle_hup(self) -> None:
        if self._has_terminal:  # it is gone, and who sat there went
            self.handle_term()
        structlog.get_logger().info("SIGHUP changes nothing: certificates are read again when they change")

    def handle_term(self) -> NoReturn:
        self._status = self._stopped_status
        raise StopIteration  # as gunicorn's own does

    def handle_usr2(self) -> NoReturn:
        raise StopIteration

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        super().halt(reason, exit_status or self._status)


class _Gunicorn(BaseApplication):
    def __init__(self, options: ServerOptions, listener: socket.socket, build: Callable[[], Service]) -> None:
        self._options = options
        self._listener = listener
        self._build = build
        self._service: Service | None = None
        self._url = _url(listener, "http" if options.tls is None else "https")
        super().__init__()

    def run(self) -> None:
        _Arbiter(self, self._options.stopped_status).run()

    def load_config(self) -> None:
        settings = {
            "bind": f"fd://{self._listener.detach()}",
            "worker_class": front_worker(self._options.limits, self._options.tls, self._watch),
            "workers": 1,
            "threads": self._options.threads,
            "http_parser": "python",  # it never reads on, once the end of a head is there
            "timeout": 0,  # a long replay of the journal is no reason to be killed
            "graceful_timeout": self._options.grace,
            "forwarded_allow_ips": "",  # nobody says in headers who asks, over what, or for which path
            "loglevel": "critical",  # what happens is in our own log, structured
            "control_socket_disable": True,
            "post_fork": lambda _arbiter, _worker: _end_with_parent(),
            "worker_exit": lambda _arbiter, _worker: self._close(),
            "proc_name": f"fedtier-{self._options.program}",
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        threading.excepthook = _end_with_thread
        try:
            service = self._service = self._build()
        except StartupError as error:
            print(f"Error: {error}", file=sys.stderr, flush=True)
            sys.exit(_BOOT_FAILED)
        except Exception:
            structlog.get_logger().exception("the program could not start")
            sys.exit(_BOOT_FAILED)
        tls = self._options.tls
        if tls is not None:
            service.watch.show_certificate(lambda: certificate_end(tls))
        self._announce()
        return service.app

    def _watch(self) -> ConnectionWatch:
        assert self._service is not None, "the front runs only after load"
        return self._service.watch

    def _close(self) -> None:
        if self._service is not None:
            self._service.close()

    def _announce(self) -> None:
        """Say on standard output where the aggregator listens, now that it is about to."""
        program = self._options.program
        if self._options.announce_json:
            print(json.dumps({"event": "listening", "program": program, "url": self._url}), flush=True)
        else:
            print(f"fedtier {program} listening on {self._url}", flush=True)


def _end_with_thread(lost: threading.ExceptHookArgs) -> None:
    """End the process, for gunicorn to start anew: without one of its threads it would take work and never answer."""
    thread = lost.thread.name if lost.thread else "unknown"
    structlog.get_logger().critical("a thread was lost", thread=thread, exc_info=lost.exc_value)
    os._exit(1)


def _url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _bound_free_memory() -> None:
    """Keep glibc from holding freed memory in every thread's arena, so that it does not grow with uploads served."""
    with contextlib.suppress(AttributeError, OSError):  # other C libraries have other allocators
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _MALLOC_SETTINGS.items():
            mallopt(parameter, value)
