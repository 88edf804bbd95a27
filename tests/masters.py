"""Masters in this process, around a real S3 server: what they serve, and how they end."""

from __future__ import annotations

import json
import queue
import random
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from fedtier.dtypes import Array
from fedtier.rounds import ClientSettings
from fedtier.serving.access import Gate
from fedtier.serving.statedir import StateDirectory
from fedtier.store import RoundStore
from fedtier.tokens import Verifier
from master_aggregator.aggregator import MasterAggregator, Surroundings
from master_aggregator.app import master_app
from master_aggregator.metrics import MasterMetrics
from master_aggregator.planning import Rules
from master_aggregator.scoreboard import Scoreboard
from tests.builders import WEIGHT_LIMIT, model_arrays, safetensors
from tests.described import MasterClient
from tests.s3_servers import S3Server

PATIENCE = 30.0
"""Seconds until a test that waits gives up."""


class Died(SystemExit):
    """A master's process would have ended; threads end with it in silence."""


def rules(**changes: Any) -> Rules:
    """Return rules: threshold 2, no deadline, no last round unless told."""
    fields: dict[str, Any] = {
        "threshold": 2,
        "min_clients": 1,
        "deadline": None,
        "weight_limit": WEIGHT_LIMIT,
        "batch_max": 4,
        "final_round": None,
        "clients": None,
        "fraction": 1.0,
        "seed": 0,
        "client": ClientSettings(),
    }
    return Rules(**fields | changes)


def publish_initial(store: RoundStore, folder: Path, model: Mapping[str, Array] | None = None) -> bytes:
    """Publish round 0 and return its model."""
    content = safetensors(model_arrays() if model is None else model)
    path = folder / "initial.safetensors"
    path.write_bytes(content)
    store.publish_initial(path)
    return content


def store_of(server: S3Server, bucket_key: str | None = None) -> RoundStore:
    """Return a store under a key, one of its own unless told."""
    return RoundStore(server.bucket, bucket_key or f"tests/{uuid.uuid4().hex}/model.safetensors", client=server.client)


class Master:
    """A master and its app; `deaths` holds the reasons for which its process would have ended."""

    def __init__(
        self,
        store: RoundStore,
        folder: Path,
        chosen: Rules | None = None,
        *,
        verifier: Verifier | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: random.Random | None = None,
        redirect_models: bool = False,
        scoreboard: Scoreboard | None = None,
        spool_max: int | None = None,
    ) -> None:
        self.deaths: queue.Queue[str] = queue.Queue()
        self.finished = threading.Event()
        self.state = StateDirectory(folder, self._die, spool_max=spool_max)
        self.state.clear_spool()
        around = Surroundings(clock=clock, rng=rng or random.Random(0), die=self._die, finished=self.finished.set)
        self.metrics = MasterMetrics()
        self.tier = MasterAggregator(
            store,
            self.state,
            chosen or rules(),
            self.metrics,
            around,
            redirect_models=redirect_models,
            scoreboard=scoreboard,
        )
        self.app = master_app(self.tier, Gate(verifier), self.state, self.metrics, threads=16)
        self.app.test_client_class = MasterClient

    def start(self) -> Master:
        try:
            self.tier.start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Give the folder back, as a killed process does; its threads never get work again."""
        with suppress(OSError):
            self.state.close()

    def __enter__(self) -> Master:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def http(self) -> FlaskClient:
        return self.app.test_client()

    def get_round(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.http.get("/v1/round").data)
        return document

    def send_update(self, client_id: str, body: bytes, number: int = 1, **options: Any) -> TestResponse:
        return put(self.http, f"/v1/rounds/{number}/updates/{client_id}", body, **options)

    def send_partial(self, body: bytes, number: int = 1, batch_id: str = "batch", **options: Any) -> TestResponse:
        return put(self.http, f"/v1/rounds/{number}/partials/{batch_id}", body, **options)

    def await_round(self, number: int) -> None:
        """Wait until a round is open and its predecessor's copy is written or on its way."""
        wait_until(lambda: self.get_round()["round"] >= number or not self.deaths.empty())
        assert self.deaths.empty(), self.deaths.get_nowait()

    @property
    def leftovers(self) -> list[str]:
        """Names in the spool."""
        return [path.name for path in self.state.spool.iterdir()]

    def _die(self, reason: str) -> NoReturn:
        self.deaths.put(reason)
        raise Died(reason)


class Hasty(random.Random):
    """Draws no pause before another try, and notes between what seconds each was to be drawn."""

    def __init__(self) -> None:
        super().__init__(0)
        self.pauses: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.pauses.append((a, b))
        return 0.0


def put(http: FlaskClient, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> TestResponse:
    """Send a body as the protocol wants it; `headers` adds to that or changes it."""
    wanted = {"Content-Type": "application/octet-stream", **(headers or {})}
    # An empty body gets no length from the test client, but has one on the wire.
    length = {} if body else {"CONTENT_LENGTH": "0"}
    return http.put(path, data=body, headers=wanted, environ_overrides=length)


def wait_until(condition: Callable[[], object], *, patience: float = PATIENCE) -> None:
    """Ask until the answer is true."""
    pause = threading.Event()
    for _ in range(int(patience / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("waited too long")
