"""``GET /metrics`` on a port of its own, for this machine only.

Whoever may connect needs no token, so it listens on loopback. A scraper may be slow or hostile all the same: only a few
connections are held, each for a short time, and one more ends the oldest.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeVar

import click
import structlog

from fedtier.metrics import Metrics
from fedtier.problems import StartupError

CONNECTIONS: Final = 8
"""Held at once."""
LASTING: Final = 10.0
"""Seconds after which a connection is ended, however it stands."""
_LOOK_EVERY: Final = 0.5
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def metrics_flags(function: _Decorated) -> _Decorated:
    """Add ``--metrics-port --metrics-host``."""
    port = click.option(
        "--metrics-port",
        type=click.IntRange(0, 65535),
        help="Serve Prometheus metrics on a port of their own, without a token; 0 takes a free one. None by default.",
    )
    host = click.option("--metrics-host", default="127.0.0.1", help="Loopback address of --metrics-port.")
    return port(host(function))


@contextlib.contextmanager
def metrics_served(metrics: Metrics, host: str, port: int | None) -> Iterator[str | None]:
    """Serve metrics while the block runs, and yield their address; without a port do nothing, and yield None.

    Parameters
    ----------
    metrics : Metrics
    host : str
    port : int or None
        0 takes a free one.

    Raises
    ------
    StartupError
        The host is not loopback, or the port cannot be listened on.
    """
    _require_loopback(host)
    if port is None:
        yield None
        return
    server = _listen(metrics, host, port)
    thread = threading.Thread(target=server.serve_forever, args=(_LOOK_EVERY,), name="metrics", daemon=True)
    thread.start()
    structlog.get_logger().info("metrics served", url=server.url)
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _require_loopback(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise StartupError(
            f"--metrics-host {host} is not a loopback address, and this port asks for no token; use 127.0.0.1, "
            "or scrape /metrics of an aggregator's own port with an operator's token"
        )


def _listen(metrics: Metrics, host: str, port: int) -> _Server:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return _Server(metrics, family, address)
    except OSError as error:
        raise StartupError(
            f"metrics cannot be served on {host}:{port}: {error.strerror}; choose another --metrics-port"
        ) from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, metrics: Metrics, family: int, address: Any) -> None:
        self.metrics = metrics
        self.address_family = family
        self._lock = threading.Lock()
        self._held: dict[socket.socket, float] = {}
        super().__init__(address, _Handler)

    @property
    def url(self) -> str:
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"

    def server_bind(self) -> None:
        """Bind, without asking for the name of the address, which may take its time."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_port = self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            for oldest in list(self._held)[: len(self._held) - CONNECTIONS + 1]:
                self._cut_off(oldest)
            self._held[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._held.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End what lasts too long; called again and again while the server runs."""
        with self._lock:
            for request, since in list(self._held.items()):
                if time.monotonic() - since > LASTING:
                    self._cut_off(request)

    def server_close(self) -> None:
        super().server_close()
        with self._lock:
            for request in list(self._held):
                self._cut_off(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        structlog.get_logger().debug("a scrape broke off")

    def _cut_off(self, request: socket.socket) -> None:
        """End a connection; its thread ends with it, and closes it."""
        self._held.pop(request, None)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "fedtier"
    sys_version = ""
    timeout = LASTING

    def do_GET(self) -> None:
        """Answer a scrape."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, explain="there is only /metrics")
            return
        body, media_type = self.server.metrics.exposition(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """Write no line for each request."""
