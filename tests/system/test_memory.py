"""Memory, files and threads of an aggregator do not grow with the clients it counted, nor with the rounds."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fedtier.tensors import write_arrays
from fedtier.upstream import file_sha256
from tests.system.federation import Aggregator, Federation
from tests.system.updates import Update, send

pytestmark = pytest.mark.system

CLIENTS_AT_ONCE = 4
UPDATES_OF_SLACK = 8
"""How many of the 180 updates between two looks may seem kept: the allocator's free memory comes and goes."""
SPARE = 8
"""Files and threads that come and go with connections."""


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


@dataclass(frozen=True)
class Model:
    """A model of 4 MiB, and an update to it that any client may send."""

    path: Path
    update: Path
    update_sha256: str


@pytest.fixture(scope="module")
def four_megabytes(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("four-megabytes")
    rng = np.random.default_rng(4)
    model, update = folder / "model.safetensors", folder / "update.safetensors"
    for path, metadata in ((model, {}), (update, {"num_examples": "600"})):
        with path.open("wb") as file:
            write_arrays(file, {"weight": rng.standard_normal((1024, 1024), np.float32)}, metadata=metadata)
    return Model(model, update, file_sha256(update))


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
