"""What a worker counts and says of what is sent to it, and of what it sends on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fedtier.store import RoundStore
from tests.builders import trained, update_bytes
from tests.masters import Hasty, Master, rules, wait_until
from tests.scrapes import Scrape
from tests.workers import Way, Worker, served

BODY = update_bytes(trained(1))


@pytest.fixture
def upstream(store: RoundStore, tmp_path: Path) -> Iterator[tuple[str, Way]]:
    with Master(store, tmp_path / "master", rules(threshold=50)) as master, served(master.app) as (url, way):
        yield url, way


@pytest.fixture
def worker(upstream: tuple[str, Way], tmp_path: Path) -> Iterator[Worker]:
    with Worker(upstream[0], tmp_path / "worker", rng=Hasty()) as worker:
        yield worker.ready()


def scrape(worker: Worker) -> Scrape:
    answer = worker.http.get("/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)


def test_an_update_is_counted_through_all_its_steps(worker: Worker) -> None:
    with capture_logs() as logged:
        assert worker.send_update("client-1", BODY).status_code == 200
    worker.await_empty_spool()
    seen = scrape(worker)
    assert seen.uploads("update") == {"counted": 1}
    assert seen("contributors_total") == seen("batch_contributors_sum") == 1
    assert seen("batches_total", outcome="counted") == 1
    for step in ("seal", "forward"):
        assert seen(f"{step}_seconds_count") == 1, step
    assert seen("received_bytes_total", content="update") == len(BODY)
    assert seen("sent_bytes_total", content="partial") == seen("partial_bytes_sum") > 0
    assert seen("spool_bytes") == 0
    (line,) = [line for line in logged if line["event"] == "batch counted"]
    assert (line["round"], line["attempt"], line["batch"]) == (1, 2, "worker-batch-0")
    assert (line["clients"], line["contributors"]) == (["client-1"], 1)


def test_a_repeat_is_answered_again_and_one_contributor(worker: Worker) -> None:
    for _ in range(2):
        assert worker.send_update("client-1", BODY).status_code == 200
    worker.await_empty_spool()
    seen = scrape(worker)
    assert seen.uploads("update") == {"counted": 2}
    assert seen("contributors_total") == 1
    assert seen("batches_total", outcome="already-counted") == 1


def test_a_try_that_has_to_be_made_again_is_counted(upstream: tuple[str, Way], worker: Worker) -> None:
    upstream[1].lost_replies = 3
    with capture_logs() as logged:
        assert worker.send_update("client-1", BODY).status_code == 200
    seen = scrape(worker)
    assert seen.reasons("retries_total") == {"internal": 3}  # a gateway's 502 is no problem of ours
    assert seen("sent_bytes_total", content="partial") == 4 * seen("partial_bytes_sum")
    assert seen.uploads("update") == {"counted": 1}
    (line,) = [line for line in logged if line["event"] == "the upstream cannot take a batch now"]
    assert (line["round"], line["attempt"], line["batch"]) == (1, 2, "worker-batch-0")


def test_the_round_is_shown_as_it_was_seen(upstream: tuple[str, Way], tmp_path: Path) -> None:
    now = [100.0]
    with Worker(upstream[0], tmp_path / "worker", clock=lambda: now[0]) as worker:
        worker.ready()
        now[0] += 40
        seen = scrape(worker)
        assert (seen("round"), seen("attempt"), seen("threshold_clients")) == (1, 2, 50)
        assert seen("round_age_seconds") == 40
        assert seen("upstream_silence_seconds") <= 40


def test_the_model_is_received_once_and_sent_as_often_as_it_is_asked_for(worker: Worker) -> None:
    sizes = set()
    for _ in range(3):
        answer = worker.http.get("/v1/rounds/0/model")
        sizes.add(len(answer.data))
        answer.close()
    (size,) = sizes
    seen = scrape(worker)
    assert seen("received_bytes_total", content="model") == size
    assert seen("sent_bytes_total", content="model") == 3 * size


def test_an_upstream_that_goes_away_and_comes_back_is_said_to(store: RoundStore, tmp_path: Path) -> None:
    with (
        Master(store, tmp_path / "master", rules(threshold=50)) as master,
        served(master.app) as (url, _),
        Worker(url, tmp_path / "worker") as worker,
        capture_logs() as logged,
    ):
        worker.ready()
        worker.tier._follower._lose("upstream: gone")
        worker.tier._follower._lose("upstream: gone")
        wait_until(lambda: any(line["event"] == "the upstream answers again" for line in logged))
    # Workers of tests before may look for upstreams that are gone, in threads of their own.
    lost = [line["event"] for line in logged if line.get("reason") == "upstream: gone"]
    assert lost == ["the upstream is lost"]
