"""Ten honest clients complete their round while others do what they can to their worker, with tokens or without."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.s3_servers import S3Server
from tests.system.attacks import ATTACKS, health_asked, send_all
from tests.system.chaos.leaks import POOL, Held, grown, held_by, left_on_disk
from tests.system.federation import Aggregator, Federation
from tests.system.guards import Guard
from tests.system.updates import TenUpdates

pytestmark = pytest.mark.system

ROUNDS = 2
THREADS = 72
"""Of a worker: the main one, those that add up, forward, follow and keep time, and one that fetches a model ahead."""


@dataclass(frozen=True)
class Besieged:
    """A master, and a worker that asks for tokens and faces the attacks."""

    master: Aggregator
    worker: Aggregator
    guard: Guard


@pytest.fixture(scope="module")
def besieged(
    s3_server: S3Server, ten_updates: TenUpdates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Besieged]:
    folder = tmp_path_factory.mktemp("besieged")
    guard = Guard(folder / "keys", tls=False)
    with Federation(folder, s3_server, f"tests/{uuid.uuid4().hex}/model.safetensors", guard=guard) as federation:
        master = federation.master(ten_updates.model, "--threshold", "10")
        worker = federation.worker("worker", "--threads", str(THREADS), upstream=master.url)
        besieged = Besieged(master, worker, guard)
        play(besieged, ten_updates)
        yield besieged


def play(besieged: Besieged, ten_updates: TenUpdates) -> None:
    """Have ten clients complete the open round."""
    number = besieged.master.status().round
    besieged.worker.wait_for_round(number)
    send_all(besieged.worker, ten_updates.updates, number, besieged.guard)
    assert ten_updates.are_exactly_in(besieged.master.published(number))


def kept(before: Held, worker: Aggregator) -> list[str]:
    """Return of what the worker holds more than before; threads of its pool stay, as many as it may have."""
    now = held_by(worker.serving_pid)
    assert now[POOL] <= THREADS
    return grown(before, now)


@pytest.mark.parametrize("name", ATTACKS)
def test_ten_clients_complete_their_round_under_attack(name: str, besieged: Besieged, ten_updates: TenUpdates) -> None:
    worker = besieged.worker
    before = held_by(worker.serving_pid)
    number = besieged.master.status().round
    with ATTACKS[name].on(worker, besieged.guard, number) as attack, health_asked(worker) as statuses:
        for _ in range(ROUNDS):
            play(besieged, ten_updates)
        worker.process.wait_until(lambda: bool(statuses()), "a health check is answered")
        assert worker.is_ready()
    assert set(statuses()) == {200}

    print(name, attack.report)  # also how near it came to what it wanted: this machine may be too slow for both
    assert attack.report["connections"] >= ATTACKS[name].amount
    worker.process.wait_until(lambda: not kept(before, worker), "nothing of the attack is left")
    worker.process.wait_until(lambda: not left_on_disk(worker), "nothing of it is left on disk")
    play(besieged, ten_updates)
