"""Memory, files and threads of an aggregator do not grow with the clients it counted, nor with the rounds."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fedtier.tensors import write_arrays
from fedtier.upstream import file_sha256
from tests.s3_servers import S3Server
from tests.system.federation import Aggregator, Federation
from tests.system.updates import Update, send

pytestmark = pytest.mark.system

CLIENTS_AT_ONCE = 4
UPDATES_OF_SLACK = 8
"""How many updates may seem kept, of 180 between two looks, or of 56 more: the allocator's free memory comes and goes.
"""
SPARE = 8
"""Files and threads that come and go with connections."""
AT_ONCE = 8
"""Of many clients, so many send at the same time, be they 8 or 64."""


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    resident_bytes: int
    files: int
    threads: int


def footprint(aggregator: Aggregator) -> Footprint:
    process = Path(f"/proc/{aggregator.serving_pid}")
    rollup = dict(line.split()[:2] for line in (process / "smaps_rollup").read_text().splitlines()[1:])
    return Footprint(1024 * int(rollup["Rss:"]), len(os.listdir(process / "fd")), len(os.listdir(process / "task")))


def peak_bytes(aggregator: Aggregator) -> int:
    """Return the most memory that a process had resident since it started."""
    status = Path(f"/proc/{aggregator.serving_pid}/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(peak)


@dataclass(frozen=True)
class Model:
    """A model, and an update to it that any client may send."""

    path: Path
    update: Path
    update_sha256: str


def make_model(folder: Path, rows: int) -> Model:
    """Write a model of so many rows of 4 KiB."""
    rng = np.random.default_rng(4)
    model, update = folder / "model.safetensors", folder / "update.safetensors"
    for path, metadata in ((model, {}), (update, {"num_examples": "600"})):
        with path.open("wb") as file:
            write_arrays(file, {"weight": rng.standard_normal((rows, 1024), np.float32)}, metadata=metadata)
    return Model(model, update, file_sha256(update))


@pytest.fixture(scope="module")
def four_megabytes(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_model(tmp_path_factory.mktemp("four-megabytes"), 1024)


@pytest.fixture(scope="module")
def eight_megabytes(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_model(tmp_path_factory.mktemp("eight-megabytes"), 2048)


def play_round(worker: Aggregator, model: Model, number: int, client_ids: Sequence[str], at_once: int) -> None:
    """Send an update of each client in a round."""
    with ThreadPoolExecutor(at_once) as senders:
        for sent in [
            senders.submit(send, worker.url, Update(client_id, 600, model.update, model.update_sha256), number)
            for client_id in client_ids
        ]:
            sent.result()


@pytest.mark.parametrize("threshold", [1000, 10], ids=["in one round", "in twenty rounds"])
def test_two_hundred_updates_take_no_more_than_twenty(
    threshold: int, federation: Federation, four_megabytes: Model
) -> None:
    master = federation.master(four_megabytes.path, "--threshold", str(threshold))
    worker = federation.worker("worker", upstream=master.url)

    def send_from(number: int) -> None:
        update = Update(f"client-{number % threshold}", 600, four_megabytes.update, four_megabytes.update_sha256)
        send(worker.url, update, number // threshold + 1)

    def footprints_after(numbers: range) -> dict[str, Footprint]:
        """Look when these updates, four at a time within a round, are counted and their rounds are published."""
        for start in range(numbers.start, numbers.stop, threshold):
            with ThreadPoolExecutor(CLIENTS_AT_ONCE) as senders:
                list(senders.map(send_from, range(start, min(start + threshold, numbers.stop))))
            federation.wait_for_round(min(start + threshold, numbers.stop) // threshold + 1)
        return {aggregator.name: footprint(aggregator) for aggregator in (master, worker)}

    after_twenty = footprints_after(range(20))
    after_all = footprints_after(range(20, 200))

    assert (master.status().round, master.status().counted) == (200 // threshold + 1, 200 % threshold)
    slack = UPDATES_OF_SLACK * four_megabytes.update.stat().st_size
    for name, before in after_twenty.items():
        now = after_all[name]
        assert now.resident_bytes <= before.resident_bytes + slack, (name, before, now)
        assert now.files <= before.files + SPARE, (name, before, now)
        assert now.threads <= before.threads + SPARE, (name, before, now)
    worker.process.wait_until(lambda: not any((worker.state_dir / "spool").iterdir()), "the spool is empty")


def peaks_with(folder: Path, s3: S3Server, bucket_key: str, model: Model, clients: int) -> dict[str, int]:
    """Return the peak of each aggregator over 64 updates in rounds of so many clients, of which some send at once."""
    folder.mkdir()
    with Federation(folder, s3, bucket_key) as federation:
        master = federation.master(model.path, "--threshold", str(clients))
        worker = federation.worker("worker", upstream=master.url)
        for number in range(1, 1 + 64 // clients):
            play_round(worker, model, number, [f"client-{client}" for client in range(clients)], AT_ONCE)
            federation.wait_for_round(number + 1)
        return {aggregator.name: peak_bytes(aggregator) for aggregator in (master, worker)}


def test_64_clients_take_the_memory_of_8(tmp_path: Path, s3_server: S3Server, eight_megabytes: Model) -> None:
    few, many = (
        peaks_with(
            tmp_path / str(clients), s3_server, f"tests/{uuid.uuid4().hex}/m.safetensors", eight_megabytes, clients
        )
        for clients in (AT_ONCE, 64)
    )
    slack = UPDATES_OF_SLACK * eight_megabytes.update.stat().st_size
    assert sum(many.values()) <= sum(few.values()) + slack, (few, many)


def test_fifteen_rounds_of_new_clients_leave_nothing_in_memory(federation: Federation, tmp_path: Path) -> None:
    clients, begun, ended = 10, 6, 21
    model = make_model(tmp_path, 64)
    master = federation.master(model.path, "--threshold", str(clients))
    worker = federation.worker("worker", upstream=master.url)

    def footprints_after(numbers: range) -> dict[str, Footprint]:
        for number in numbers:
            play_round(worker, model, number, [f"client-{number}-{client}" for client in range(clients)], 2)
            federation.wait_for_round(number + 1)
        return {aggregator.name: footprint(aggregator) for aggregator in (master, worker)}

    before = footprints_after(range(1, begun))
    after = footprints_after(range(begun, ended))

    leaked = UPDATES_OF_SLACK * model.update.stat().st_size
    for name, then in before.items():
        now = after[name]
        assert now.resident_bytes <= then.resident_bytes + leaked, (name, then, now)
        assert now.files <= then.files + SPARE, (name, then, now)
        assert now.threads <= then.threads + SPARE, (name, then, now)
