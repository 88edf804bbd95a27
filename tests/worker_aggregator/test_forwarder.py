"""What becomes of a batch's file once its answer is there."""

from __future__ import annotations

import hashlib
import json
import queue
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask, Response, jsonify, request

from fedtier.entries import Received
from fedtier.problems import RoundOver
from fedtier.serving.statedir import StateDirectory
from fedtier.upstream import Upstream
from tests.builders import make_plan, update_entry
from tests.masters import wait_until
from tests.workers import served
from worker_aggregator.events import Batch, BatchCounted, BatchRefused, Discard, Event
from worker_aggregator.forwarder import Forwarder
from worker_aggregator.metrics import WorkerMetrics
from worker_aggregator.sealer import SealedBatch

CONTENT = bytes(1 << 20)
"""So long that its file is worth keeping."""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDirectory]:
    made = StateDirectory(tmp_path / "state")
    yield made
    made.close()


def spares(state: StateDirectory) -> list[Path]:
    return list((state.path / "spares").iterdir())


@contextmanager
def forwarding(state: StateDirectory, answer: Callable[[], Response]) -> Iterator[Event]:
    """Send a batch to a server that answers so; yield what the core is told, then let go of the batch."""
    app = Flask(__name__)
    app.add_url_rule("/v1/rounds/<number>/partials/<batch_id>", methods=["PUT"], view_func=lambda **_: answer())
    told: queue.SimpleQueue[Event] = queue.SimpleQueue()
    with served(app) as (url, _):
        forwarder = Forwarder(
            Upstream(url), state, told.put, WorkerMetrics(time.monotonic), clock=time.monotonic, rng=random.Random(1)
        )
        forwarder.start()
        with state.own_file(len(CONTENT)) as path:
            path.write_bytes(CONTENT)
        body = Received(path.name, path, hashlib.sha256(CONTENT).hexdigest())
        forwarder.put(SealedBatch(Batch("batch", make_plan(), {1: update_entry("a")}), body))
        yield told.get(timeout=30)
        forwarder.put(Discard())
        wait_until(lambda: not path.exists())
        forwarder.stop()


def counted() -> Response:
    assert request.get_data() == CONTENT
    return jsonify(round=1, attempt=1)


def test_the_file_of_a_batch_that_was_counted_is_written_over_later(state: StateDirectory) -> None:
    with forwarding(state, counted) as told:
        assert told == BatchCounted()
    assert [path.read_bytes() for path in spares(state)] == [CONTENT]


def test_the_file_of_a_batch_that_was_refused_is_deleted_for_some_of_it_may_be_on_its_way(
    state: StateDirectory,
) -> None:
    def refuse() -> Response:
        problem = RoundOver("round 1 is closed; round 2 is open", round=2, attempt=2)
        return Response(json.dumps(problem.document()), 409, content_type="application/problem+json")

    with forwarding(state, refuse) as told:
        assert isinstance(told, BatchRefused)
    assert spares(state) == []
    assert state.spool_bytes == 0


def test_the_file_of_a_batch_that_was_sent_twice_is_deleted(state: StateDirectory) -> None:
    tries: list[Callable[[], Response]] = [counted, lambda: Response("", 503)]

    def answer() -> Response:
        return tries.pop()()

    with forwarding(state, answer) as told:
        assert told == BatchCounted()
    assert spares(state) == []
    assert state.spool_bytes == 0
