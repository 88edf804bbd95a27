"""Workers in this process, aggregators served on loopback, and a way between them that can be disturbed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import TestResponse
from werkzeug.wrappers import Request, Response

from fedtier.serving.access import Gate
from fedtier.serving.shell import create_app
from fedtier.serving.statedir import StateDirectory
from fedtier.tokens import Verifier
from fedtier.upstream import Upstream
from tests.described import WorkerClient
from tests.masters import put, wait_until
from worker_aggregator.aggregator import WorkerAggregator
from worker_aggregator.batch import Batcher
from worker_aggregator.metrics import WorkerMetrics


class Way:
    """Stands between a server and whoever asks it.

    While `closed`, uploads stay outside; the replies to the next `lost_replies` uploads are lost
    after they were taken.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._open = threading.Event()
        self._open.set()
        self.lost_replies = 0
        self.uploads: list[tuple[str, int]] = []
        self.arrived = threading.Semaphore(0)

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        if request.method != "PUT":
            return self._app(environ, start_response)
        self.arrived.release()
        assert self._open.wait(30)
        response = Response.from_app(self._app, environ, buffered=True)
        self.uploads.append((request.path, response.status_code))
        if self.lost_replies:
            self.lost_replies -= 1
            response = Response("the reply was lost", 502)
        return response(environ, start_response)


class _Silent(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a body waits up to 40 ms for the reader to acknowledge the head

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - as in the base class
        pass


@contextmanager
def served(app: Flask) -> Iterator[tuple[str, Way]]:
    """Serve an app on a free port and yield its address and the way to it."""
    way = Way(app)
    server = make_server("127.0.0.1", 0, way, threaded=True, request_handler=_Silent)
    server.daemon_threads = True  # type: ignore[attr-defined]  # a keep-alive connection must not hold the end up
    server.block_on_close = False  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", way
    finally:
        way.open()
        server.shutdown()
        server.server_close()
        thread.join()


class Worker:
    """A worker and its app."""

    def __init__(
        self,
        master: str,
        folder: Path,
        *,
        batch_max: int = 8,
        batch_age: float = 5.0,
        token: str | None = None,
        verifier: Verifier | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.state = StateDirectory(folder)
        ids = iter(f"{folder.name}-batch-{number}" for number in range(1_000_000))
        batcher = Batcher(batch_max=batch_max, batch_age=batch_age, new_id=lambda: next(ids))
        self.metrics = WorkerMetrics(clock)
        self.connections = 0

        def connect() -> Upstream:
            self.connections += 1
            return Upstream(master, token=lambda: token)

        self.tier = WorkerAggregator(
            connect,
            self.state,
            batcher,
            self.metrics,
            clock=clock,
            rng=rng or random.Random(folder.name),
        )
        self.app = create_app("worker", self.tier, Gate(verifier), self.state, self.metrics, threads=24)
        self.app.test_client_class = WorkerClient

    def __enter__(self) -> Worker:
        self.tier.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.tier.close()
        self.state.close()

    @property
    def http(self) -> FlaskClient:
        return self.app.test_client()

    def ready(self) -> Worker:
        """Wait until the worker knows its upstream's round."""
        wait_until(lambda: self.http.get("/readyz").status_code == 200)
        return self

    def send_update(self, client_id: str, body: bytes, number: int = 1, **options: Any) -> TestResponse:
        return put(self.http, f"/v1/rounds/{number}/updates/{client_id}", body, **options)

    def send_partial(self, body: bytes, number: int = 1, batch_id: str = "batch", **options: Any) -> TestResponse:
        return put(self.http, f"/v1/rounds/{number}/partials/{batch_id}", body, **options)

    @property
    def leftovers(self) -> list[str]:
        """Names in the spool."""
        return [path.name for path in self.state.spool.iterdir()]

    def await_empty_spool(self) -> None:
        """Wait until the threads behind the answers have dropped what is settled, and it counts no more."""
        wait_until(lambda: not self.leftovers and not self.state.spool_bytes)
