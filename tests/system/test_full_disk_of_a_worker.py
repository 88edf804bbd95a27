"""A worker whose disk is full says so, takes what it can hold, and takes up again by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.relays import Relay
from tests.system.disks import SmallDisk, read_only
from tests.system.federation import PATIENCE, Aggregator, Federation
from tests.system.updates import TenUpdates, make_ten_large_updates
from tests.system.uploads import answer_to_the_rest, assert_unavailable, assert_unready, half_an_upload, put, put_all

pytestmark = pytest.mark.system

FULL: Final = "the disk of the state directory is full"
READ_ONLY: Final = "Read-only file system"
SIZE: Final = 1 << 20
"""Bytes of an update; its sum on the wire takes five fourths of that."""


@pytest.fixture(scope="module")
def updates(tmp_path_factory: pytest.TempPathFactory) -> TenUpdates:
    return make_ten_large_updates(tmp_path_factory.mktemp("large"), SIZE)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """The disk on which the worker has its state directory."""
    with SmallDisk(tmp_path / "worker-state", size=16 * SIZE) as disk:
        yield disk


def wait_for_files(worker: Aggregator, count: int) -> None:
    spool = worker.state_dir / "spool"
    worker.process.wait_until(lambda: len(list(spool.iterdir())) == count, f"{count} files in the spool")


def fetch_model(worker: Aggregator) -> None:
    """Have the worker keep its round's model, which it fetches anew after each start, so that it takes its room."""
    assert worker.get("/v1/rounds/0/model").status_code == 200


def wait_for_room(worker: Aggregator, disk: SmallDisk, size: int) -> None:
    """Return when what was refused takes no room any more; its last reader may be a moment behind its answer."""
    worker.process.wait_until(lambda: disk.free_bytes == size, "nothing of it is kept")


def delete_spares(worker: Aggregator) -> None:
    """Delete what a worker would give up for more room, so that there is none."""
    for spare in (worker.state_dir / "spares").iterdir():
        spare.unlink()


def test_a_worker_that_finds_no_room_gives_up_what_it_keeps_to_write_over(
    federation: Federation, updates: TenUpdates, disk: SmallDisk
) -> None:
    master = federation.master(updates.model, "--threshold", "10")
    worker = federation.worker("worker", upstream=master.url)
    fetch_model(worker)
    put_all(worker, updates.updates[:1])
    wait_for_files(worker, 0)
    spares = worker.state_dir / "spares"
    assert len(list(spares.iterdir())) == 2, "the update's file and the batch's"
    disk.fill()
    put_all(master, updates.updates[1:])
    worker.wait_for_round(2)
    worker.process.wait_until(lambda: not any(spares.iterdir()), "the next model wants their room")
    fetched = worker.get("/v1/rounds/1/model")
    assert fetched.content == master.get("/v1/rounds/1/model").content


@pytest.mark.parametrize("ends", [Aggregator.stop, Aggregator.kill])
def test_what_is_kept_to_write_over_is_gone_when_a_worker_has_ended_or_starts_again(
    ends: Callable[[Aggregator], object], federation: Federation, updates: TenUpdates
) -> None:
    master = federation.master(updates.model, "--threshold", "10")
    worker = federation.worker("worker", upstream=master.url)
    put_all(worker, updates.updates[:1])
    wait_for_files(worker, 0)
    spares = worker.state_dir / "spares"
    assert any(spares.iterdir())
    ends(worker)
    if ends is Aggregator.kill:
        worker.start()
    assert not any(spares.iterdir())


def test_what_is_kept_to_write_over_is_gone_when_a_master_has_ended(
    federation: Federation, updates: TenUpdates
) -> None:
    master = federation.master(updates.model, "--threshold", "10")
    spares = master.state_dir / "spares"
    for _ in range(2):
        put_all(master, updates.updates[:1])
    master.process.wait_until(lambda: any(spares.iterdir()), "the repeat is kept to write over")
    master.stop()
    assert not any(spares.iterdir())


def test_a_worker_without_room_for_an_update_or_its_sum_or_the_model_counts_nothing_and_keeps_nothing(
    federation: Federation, updates: TenUpdates, disk: SmallDisk
) -> None:
    master = federation.master(updates.model, "--threshold", "10")
    worker = federation.worker("worker", upstream=master.url)
    first, *others = updates.updates
    for left in (SIZE // 2, 2 * SIZE):  # no room for the update; none for its sum
        fetch_model(worker)
        disk.fill(leaving=left)
        for _ in range(2):
            assert_unavailable(put(worker, first), FULL)
            wait_for_room(worker, disk, left)
            assert_unready(worker, FULL)
        assert master.status().counted == 0
        worker.kill()
        worker.start(ready=False)
        fetch_model(worker)
        assert_unavailable(put(worker, first), FULL)
        disk.free()
        worker.wait_until_ready()

    put_all(worker, others)
    wait_for_files(worker, 0)
    delete_spares(worker)
    disk.fill(leaving=SIZE // 2)
    put_all(master, [first])
    assert updates.are_exactly_in(master.published(1))
    worker.wait_for_round(2)
    assert_unready(worker, FULL)
    for _ in range(2):
        assert_unavailable(worker.get("/v1/rounds/1/model"), FULL)
        wait_for_room(worker, disk, SIZE // 2)

    disk.free()
    worker.wait_until_ready()
    assert worker.get("/v1/rounds/1/model").content == master.get("/v1/rounds/1/model").content
    put_all(worker, updates.updates, 2)
    assert updates.are_exactly_in(master.published(2))


def test_a_batch_is_made_anew_in_the_room_of_what_it_leaves_out(
    federation: Federation, updates: TenUpdates, disk: SmallDisk
) -> None:
    master = federation.master(updates.model, "--threshold", "10")
    before, twice, fresh, *others = updates.updates
    put_all(master, [twice])
    with Relay((master.host, master.port)) as way, ThreadPoolExecutor(3) as senders:
        worker = federation.worker("worker", upstream=way.url)
        with way.holding_replies(rb"PUT ", after=1):
            with master.frozen():  # so that the next two wait together behind the batch in flight
                in_flight = senders.submit(put, worker, before)
                wait_for_files(worker, 2)
                together = [senders.submit(put, worker, update) for update in (twice, fresh)]
                wait_for_files(worker, 4)
            assert in_flight.result().status_code == 200
            assert way.held.acquire(timeout=PATIENCE)
            delete_spares(worker)
            disk.fill(leaving=SIZE // 2)
        known, counted = (answer.result() for answer in together)

        assert known.json()["sha256"] == twice.sha256
        assert counted.json()["sha256"] == fresh.sha256
        wait_for_files(worker, 0)
        assert master.status().counted == 3

        disk.free()
        worker.wait_until_ready()
        put_all(worker, others)
        assert updates.are_exactly_in(master.published(1))


def test_a_worker_whose_state_directory_becomes_read_only_says_so_and_goes_on_when_it_is_not(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10")
    worker = federation.worker("worker", upstream=master.url)
    serving = worker.serving_pid
    first, second, *others = ten_updates.updates

    with ThreadPoolExecutor(1) as senders, half_an_upload(worker, second) as connection, ExitStack() as protected:
        with master.frozen():
            in_flight = senders.submit(put, worker, first)
            wait_for_files(worker, 3)
            protected.enter_context(read_only(worker.state_dir))
        assert in_flight.result().status_code == 200  # its batch and its body cannot be deleted
        assert READ_ONLY.encode() in answer_to_the_rest(connection, second)
        assert_unavailable(put(worker, second), READ_ONLY)
        assert_unready(worker, READ_ONLY)

    worker.wait_until_ready()
    assert worker.serving_pid == serving
    put_all(worker, [second, *others])
    assert ten_updates.are_exactly_in(master.published(1))
    worker.restart()
    assert not list((worker.state_dir / "spool").iterdir())
