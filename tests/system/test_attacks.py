"""Ten honest clients complete their round while others do what they can to their worker, with tokens or without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.s3_servers import S3Server
from tests.system.attacks import ATTACKS, health_asked, send_all
from tests.system.chaos.leaks import grown, held_by, left_on_disk
from tests.system.federation import Aggregator, Federation
from tests.system.keys import Keys
from tests.system.updates import TenUpdates

pytestmark = pytest.mark.system


@dataclass(frozen=True)
class Besieged:
    """A master, and a worker that asks for tokens and faces the attacks."""

    master: Aggregator
    worker: Aggregator
    keys: Keys


@pytest.fixture(scope="module")
def besieged(
    s3_server: S3Server, ten_updates: TenUpdates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Besieged]:
    keys = Keys()
    folder = tmp_path_factory.mktemp("besieged")
    with Federation(folder, s3_server, f"tests/{folder.name}-{id(keys)}/model.safetensors", keys=keys) as federation:
        master = federation.master(ten_updates.model, "--threshold", "10")
        worker = federation.worker("worker", upstream=master.url)
        besieged = Besieged(master, worker, keys)
        play(besieged, ten_updates)
        yield besieged


def play(besieged: Besieged, ten_updates: TenUpdates) -> None:
    """Have ten clients complete the open round."""
    number = besieged.master.status().round
    besieged.worker.wait_for_round(number)
    send_all(besieged.worker, ten_updates.updates, number, besieged.keys)
    assert ten_updates.are_exactly_in(besieged.master.published(number))


@pytest.mark.parametrize("name", ATTACKS)
def test_ten_clients_complete_their_round_under_attack(name: str, besieged: Besieged, ten_updates: TenUpdates) -> None:
    worker = besieged.worker
    before = held_by(worker.serving_pid)
    number = besieged.master.status().round
    with ATTACKS[name].on(worker, besieged.keys, number) as attack, health_asked(worker) as statuses:
        play(besieged, ten_updates)
        worker.process.wait_until(lambda: bool(statuses()), "a health check is answered")
        assert worker.is_ready()
    assert set(statuses()) == {200}

    print(name, attack.report)
    assert attack.report["connections"] > 0
    worker.process.wait_until(
        lambda: not [kind for kind in grown(before, held_by(worker.serving_pid)) if not kind.startswith("thread")],
        "nothing of the attack is left",
    )
    assert not left_on_disk(worker)
    play(besieged, ten_updates)
