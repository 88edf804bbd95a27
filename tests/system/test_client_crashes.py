"""A client that is killed trains no round twice and counts once, and nobody else waits for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.clients import Client, write_model
from tests.system.federation import Aggregator, Federation
from tests.system.ledger import Ledger
from tests.system.mishaps import Withheld
from tests.system.ways import Way

pytestmark = pytest.mark.system


def tiers(federation: Federation, folder: Path, *flags: str) -> tuple[Aggregator, Aggregator]:
    """Start a master and a worker."""
    master = federation.master(write_model(folder), *flags)
    return master, federation.worker("worker", upstream=master.url)


@contextmanager
def way_to(worker: Aggregator, mishap: Withheld) -> Iterator[Way]:
    """Have a mishap befall the first upload on the way to a worker."""
    way = Way(worker.host, lambda: (worker.host, worker.port), Ledger(worker.state_dir.with_name("sent")))
    way.expect(mishap)
    try:
        yield way
    finally:
        way.close()


def kill(client: Client) -> None:
    client.process.signal(signal.SIGKILL)
    assert client.process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("passing", [0, 200], ids=["before", "while"])
def test_a_client_killed_before_or_while_it_sends_sends_what_it_had_trained(
    passing: int, federation: Federation, tmp_path: Path
) -> None:
    master, worker = tiers(federation, tmp_path, "--threshold", "1", "--rounds", "1")
    client = Client(federation, "client-0")
    withheld = Withheld(passing=passing)
    with way_to(worker, withheld) as way:
        client.start(way.url)
        withheld.await_held()
        trained = client.saved
        kill(client)
    assert client.saved == trained
    assert master.status().counted == 0

    client.start(worker.url)
    assert client.process.wait() == 0, client.process.log_end()

    assert [fact["event"] for fact in client.facts()] == ["counted", "finished"]
    assert client.trained == [1]
    assert {1: master.published(1).contributors[0].sha256} == trained
    assert client.saved == {}


def test_a_client_killed_before_it_hears_that_it_counts_is_counted_once(federation: Federation, tmp_path: Path) -> None:
    master, worker = tiers(federation, tmp_path, "--threshold", "2", "--rounds", "1")
    client, other = Client(federation, "client-0"), Client(federation, "client-1")
    withheld = Withheld()
    with way_to(worker, withheld) as way:
        client.start(way.url)
        withheld.await_held()
        trained = client.saved
        kill(client)
    assert master.status().counted == 1

    client.start(worker.url)
    assert client.await_fact("counted")["detail"] == "the update counts"
    assert master.status().counted == 1
    other.start(worker.url)
    assert [each.process.wait() for each in (client, other)] == [0, 0]

    assert client.trained == [1]
    digests = {contributor.client_id: contributor.sha256 for contributor in master.published(1).contributors}
    assert digests.keys() == {"client-0", "client-1"}
    assert {1: digests["client-0"]} == trained


def test_a_client_killed_before_it_hears_goes_on_in_the_next_round(federation: Federation, tmp_path: Path) -> None:
    master, worker = tiers(federation, tmp_path, "--threshold", "1", "--rounds", "2")
    client = Client(federation, "client-0")
    withheld = Withheld()
    with way_to(worker, withheld) as way:
        client.start(way.url)
        withheld.await_held()
        trained = client.saved
        kill(client)
    worker.wait_for_round(2)

    client.start(worker.url)
    assert client.process.wait() == 0, client.process.log_end()

    assert [fact["event"] for fact in client.facts()] == ["round-over", "training", "trained", "counted", "finished"]
    assert client.trained == [1, 2]
    assert {1: master.published(1).contributors[0].sha256} == trained


def test_a_client_killed_in_the_midst_of_its_upload_delays_nobody(federation: Federation, tmp_path: Path) -> None:
    master, worker = tiers(federation, tmp_path, "--threshold", "2", "--rounds", "1")
    killed, *others = (Client(federation, f"client-{number}") for number in range(3))
    withheld = Withheld(passing=200)
    with way_to(worker, withheld) as way:
        killed.start(way.url)
        withheld.await_held()
        spool = worker.state_dir / "spool"
        worker.process.wait_until(lambda: any(spool.iterdir()), "the worker has the beginning of an upload")
        kill(killed)

        for other in others:
            other.start(worker.url)
        assert [other.process.wait() for other in others] == [0, 0], "\n".join(o.process.log_end() for o in others)

    assert [contributor.client_id for contributor in master.published(1).contributors] == ["client-1", "client-2"]
    worker.process.wait_until(lambda: not any(spool.iterdir()), "nothing of the upload is left")


def test_more_clients_than_the_threshold_waste_no_round(federation: Federation, tmp_path: Path) -> None:
    rounds, threshold = 4, 3
    master, worker = tiers(federation, tmp_path, "--threshold", str(threshold), "--rounds", str(rounds))
    clients = [Client(federation, f"client-{number}") for number in range(2 * threshold)]
    early, late = clients[:threshold], clients[threshold:]
    for client in clients:
        client.keep_in_training(1)
        client.start(worker.url)
    for client in early:
        client.keep_in_training(2)
    for client in late:
        client.await_training(1)

    for client in early:
        client.end_training(1)
    for client in early:
        client.await_training(2)
    for client in late:
        client.end_training(1)
        assert client.await_fact("round-over")["round"] == 1
    worker.wait_for_round(3)
    for client in early:
        client.end_training(2)

    assert [client.process.wait() for client in clients] == [0] * len(clients)
    for client in early:
        assert 2 in [fact["round"] for fact in client.facts() if fact["event"] == "round-over"]
    contributors = [[c.client_id for c in master.published(number).contributors] for number in range(1, rounds + 1)]
    assert contributors[:2] == [[client.client_id for client in group] for group in (early, late)]
    assert all(len(ids) >= threshold for ids in contributors)
