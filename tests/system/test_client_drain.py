"""A client that gets SIGTERM finishes what others may wait for, drops the rest, and ends with 0."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.s3_servers import S3Server
from tests.system.clients import KEPT, Client, write_model
from tests.system.federation import Aggregator, Federation

pytestmark = pytest.mark.system

NOTHING_KEPT = "no update waits to be sent"


@dataclass(frozen=True)
class Tiers:
    """A master, whose round stays open, and a worker."""

    federation: Federation
    master: Aggregator
    worker: Aggregator


@pytest.fixture(scope="module")
def tiers(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Tiers]:
    folder = tmp_path_factory.mktemp("drain")
    with Federation(folder, s3_server, f"tests/{uuid.uuid4().hex}/model.safetensors") as federation:
        master = federation.master(write_model(folder), "--threshold", "100")
        yield Tiers(federation, master, federation.worker("worker", upstream=master.url))


@pytest.fixture
def worker(tiers: Tiers) -> Aggregator:
    return tiers.worker


@pytest.fixture
def client(tiers: Tiers, request: pytest.FixtureRequest) -> Client:
    """A client that no other test has."""
    return Client(tiers.federation, request.node.originalname)


def ended(client: Client) -> tuple[int, list[dict[str, Any]]]:
    return client.process.wait(), client.facts()


@contextmanager
def uploading(client: Client, tiers: Tiers, *flags: str) -> Iterator[None]:
    """Have a client in the midst of an upload that waits for the master, as long as the block runs."""
    client.keep_in_training(1)
    client.start(tiers.worker.url, *flags)
    client.await_training(1)
    spool = tiers.worker.state_dir / "spool"
    tiers.worker.process.wait_until(lambda: not any(spool.iterdir()), "the worker waits for nothing")
    with tiers.master.frozen():
        client.end_training(1)
        tiers.worker.process.wait_until(lambda: any(spool.iterdir()), "an upload waits for the master")
        yield


def test_a_training_is_given_up(client: Client, worker: Aggregator) -> None:
    client.keep_in_training(1)
    client.start(worker.url)
    client.await_training(1)

    client.process.signal(signal.SIGTERM)
    status, facts = ended(client)

    assert status == 0, client.process.log_end()
    assert [fact["event"] for fact in facts] == ["training", "finished"]
    assert (facts[-1]["ok"], facts[-1]["detail"]) == (True, f"told to stop; {NOTHING_KEPT}")
    assert client.saved == {}


def test_an_upload_is_finished(client: Client, tiers: Tiers) -> None:
    before = tiers.master.status().counted
    with uploading(client, tiers):
        client.process.signal(signal.SIGTERM)
        client.process.signal(signal.SIGTERM)
    status, facts = ended(client)

    assert status == 0, client.process.log_end()
    assert [fact["event"] for fact in facts] == ["training", "trained", "counted", "finished"]
    assert facts[-1]["detail"] == "told to stop; the update of round 1 counts"
    assert tiers.master.status().counted == before + 1


def test_an_upload_is_given_up_with_the_grace_and_sent_by_the_next_start(client: Client, tiers: Tiers) -> None:
    before = tiers.master.status().counted
    with uploading(client, tiers, "--grace", "0"):
        client.process.signal(signal.SIGTERM)
        status, facts = ended(client)
    assert status == 0, client.process.log_end()
    assert [fact["event"] for fact in facts] == ["training", "trained", "finished"]
    assert (facts[-1]["ok"], facts[-1]["detail"]) == (True, f"told to stop; {KEPT}")
    trained = client.saved

    client.start(tiers.worker.url)
    assert client.await_fact("counted")["detail"] == "the update counts"
    client.process.signal(signal.SIGTERM)
    assert client.process.wait() == 0
    assert client.trained == [1]
    assert client.saved == trained
    assert tiers.master.status().counted == before + 1


def test_an_upload_that_finds_no_server_is_given_up_with_the_grace(client: Client, worker: Aggregator) -> None:
    client.keep_in_training(1)
    client.start(worker.url, "--grace", "0")
    client.await_training(1)
    assert worker.stop() == 0
    try:
        client.end_training(1)
        client.process.wait_until(lambda: "trying again" in client.process.log.read_text(), "the client tries again")
        client.process.signal(signal.SIGTERM)
        status, facts = ended(client)
    finally:
        worker.start()

    assert (status, facts[-1]["detail"]) == (0, f"told to stop; {KEPT}")


def test_a_wait_for_the_round_ends(client: Client, worker: Aggregator) -> None:
    client.start(worker.url)
    client.await_fact("counted")

    client.process.signal(signal.SIGTERM)
    status, (finished,) = ended(client)

    assert (status, finished["event"], finished["ok"]) == (0, "finished", True)
    assert finished["detail"] == "told to stop; the update of round 1 counts"


def test_a_question_that_nobody_answers_ends(client: Client, worker: Aggregator) -> None:
    client.start(worker.url)
    client.await_fact("counted")
    with worker.frozen():
        client.process.signal(signal.SIGTERM)
        assert client.process.wait() == 0


def test_all_clients_of_a_process_end(client: Client, tiers: Tiers) -> None:
    other = Client(tiers.federation, "other")
    other.keep_in_training(1)
    client.start(tiers.worker.url, "--client-id", "other", "--data", str(other.data))
    client.process.wait_until(lambda: other.trained == [1], "the second client trains")

    client.process.signal(signal.SIGTERM)
    status, facts = ended(client)

    assert status == 0, client.process.log_end()
    details = {fact["client_id"]: fact["detail"] for fact in facts if fact["event"] == "finished"}
    assert details == {
        client.client_id: "told to stop; the update of round 1 counts",
        "other": f"told to stop; {NOTHING_KEPT}",
    }
