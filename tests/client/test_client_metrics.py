"""What a client counts."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from structlog.testing import capture_logs

from client.metrics import ClientMetrics
from client.options import Surroundings
from client.run import run_client
from client.transport import Transport
from fedtier.problems import Problem, SchemaMismatch, Unavailable
from fedtier.upstream import Upstream
from tests.client.federation import Federation, make_status
from tests.client.loopback import Reply, Request, json_reply, problem_reply, serve
from tests.client.test_run import INITIAL, options
from tests.masters import Hasty
from tests.scrapes import Scrape

STATUS = make_status({"mean": np.zeros(1, np.float32)})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Refusing:
    """A federation that answers the first uploads with problems."""

    def __init__(self, federation: Federation, *problems: Problem) -> None:
        self._federation, self._problems = federation, list(problems)

    def __call__(self, request: Request) -> Reply:
        if request.method == "PUT" and self._problems:
            return problem_reply(self._problems.pop(0), Retry_After="0.01")
        return self._federation(request)


def run(tmp_path: Path, *problems: Problem, status: int = 0) -> Scrape:
    """Take part in two rounds, and return what was counted."""
    metrics = ClientMetrics(Clock())
    federation = Federation(INITIAL, tmp_path, threshold=1, final_round=2)
    with serve(Refusing(federation, *problems)) as url:
        around = Surroundings(rng=Hasty(), metrics=metrics)
        assert run_client(options(tmp_path, url), around) == status
    return Scrape.of(metrics)


def test_rounds_without_trouble_are_counted(tmp_path: Path) -> None:
    seen = run(tmp_path)
    assert seen.uploads("update") == {"counted": 2}
    assert seen("training_seconds_count") == seen("upload_seconds_count") == 2
    assert seen("trained_examples_total") == 4
    assert (seen("round"), seen("round_state", state="finished")) == (3, 1)
    assert seen("received_bytes_total", content="model") > 0
    assert seen("sent_bytes_total", content="update") > 0
    assert seen.reasons("retries_total") == seen.reasons("refusals_total") == {}


def test_retries_are_counted_by_their_reason(tmp_path: Path) -> None:
    seen = run(tmp_path, Unavailable("later"), Unavailable("later"))
    assert seen.reasons("retries_total") == {"unavailable": 2}
    assert seen.uploads("update") == {"counted": 2}
    assert seen("sent_bytes_total", content="update") % 4 == 0  # three sends of one update, one of the other


def test_a_refusal_is_counted_by_its_reason(tmp_path: Path) -> None:
    seen = run(tmp_path, SchemaMismatch("tensor 'mean' is missing"), status=1)
    assert seen.reasons("refusals_total") == {"schema-mismatch": 1}
    assert seen.uploads("update") == {"refused": 1}


def test_a_server_that_is_away_is_silent_for_longer_and_longer() -> None:
    clock = Clock()
    metrics = ClientMetrics(clock)
    with serve(lambda _: json_reply(STATUS.model_dump(mode="json"))) as url:
        transport = Transport(Upstream(url), "a", rng=random.Random(0), clock=clock, metrics=metrics)
        clock.now = 60.0
        assert Scrape.of(metrics)("upstream_silence_seconds") == 60
        transport.round_status()
    assert Scrape.of(metrics)("upstream_silence_seconds") == 0
    clock.now = 70.0
    assert Scrape.of(metrics)("upstream_silence_seconds") == 10


def test_the_line_about_another_try_names_the_client() -> None:
    replies = [problem_reply(Unavailable("later"), Retry_After="0.01"), json_reply(STATUS.model_dump(mode="json"))]
    with serve(lambda _: replies.pop(0)) as url, capture_logs() as logged:
        Transport(Upstream(url), "client-3", rng=Hasty()).round_status()
    assert [line["client_id"] for line in logged if line["event"] == "trying again"] == ["client-3"]


def test_the_newest_round_that_any_client_of_the_process_saw_is_shown() -> None:
    clock = Clock()
    metrics = ClientMetrics(clock)
    metrics.saw(make_status({"mean": np.zeros(1, np.float32)}, number=2, attempt=2))
    clock.now = 5.0
    metrics.saw(STATUS)
    seen = Scrape.of(metrics)
    assert (seen("round"), seen("round_age_seconds")) == (2, 5)
