"""A master whose disk is full says so, counts nothing that it cannot keep, and takes up again by itself."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
import requests

from tests.masters import store_of
from tests.s3_servers import S3Server
from tests.scalars import steps
from tests.system.disks import PAGE, SmallDisk, read_only
from tests.system.endings import refused_start
from tests.system.federation import PATIENCE, Aggregator, Federation
from tests.system.updates import TenUpdates, Update, make_ten_large_updates
from tests.system.uploads import (
    answer_to_the_rest,
    assert_unavailable,
    assert_unready,
    half_an_upload,
    put,
    put_all,
)

pytestmark = pytest.mark.system

FULL: Final = "the disk of the state directory is full"
BODY, RECORD, MODEL, CLOSE_RECORD, NEXT_PLAN = range(5)
"""What finds no room where so many pages are left for a round's last update; each takes one page."""
STEPS: Final = (BODY, RECORD, MODEL, CLOSE_RECORD, NEXT_PLAN)
MEBIBYTE: Final = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """The disk on which the federation's master has its state directory."""
    with SmallDisk(tmp_path / "master-state", inodes=100) as disk:
        yield disk


def fill_up_at(step: int, master: Aggregator, disk: SmallDisk, last: Update, number: int) -> requests.Response:
    """Send a round's last update and let this step find no room; return the answer once the master says so."""
    disk.fill(leaving=step * PAGE)
    answer = put(master, last, number)
    if step in {BODY, RECORD}:
        assert_unavailable(answer, FULL)
    else:
        assert answer.status_code == 200, answer.text
        master.process.wait_until(lambda: missing(master, number) == step, "the step finds no room")
        assert master.status().state == "publishing"
    assert_unready(master, FULL)
    return answer


def missing(master: Aggregator, number: int) -> int:
    """Return which step of publishing a round was not done."""
    (journal,) = master.state_dir.glob(f"round-{number:06d}-*")
    if (journal / "close.json").exists():
        return NEXT_PLAN
    return CLOSE_RECORD if (journal / "model.safetensors").exists() else MODEL


def test_at_whatever_step_of_a_round_the_disk_fills_up_the_round_is_what_it_would_have_been(
    federation: Federation, ten_updates: TenUpdates, disk: SmallDisk
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--no-tensorboard")
    *most, last = ten_updates.updates
    for number, step in enumerate(STEPS, start=1):
        put_all(master, most, number)
        answer = fill_up_at(step, master, disk, last, number)

        disk.free()
        master.wait_until_ready()
        if answer.status_code != 200:
            put_all(master, [last], number)
        assert ten_updates.are_exactly_in(master.published(number))
    assert len(master.events("entries could not be journaled")) == 1
    assert master.status().attempt == 2 + len(STEPS)


def test_a_disk_that_takes_no_more_files_is_full_too(
    federation: Federation, ten_updates: TenUpdates, disk: SmallDisk
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--no-tensorboard")
    *most, last = ten_updates.updates
    for number, left in enumerate(range(7), start=1):
        put_all(master, most, number)
        disk.use_up_inodes(leaving=left)

        answer = put(master, last, number)
        assert answer.status_code == 200 or left < 2
        assert_unready(master, FULL)
        if left == 0:
            assert_unavailable(answer, FULL)
            assert_unavailable(requests.post(f"{master.url}/v1/pause", timeout=PATIENCE), FULL)

        disk.free()
        master.wait_until_ready()
        if answer.status_code != 200:
            put_all(master, [last], number)
        assert ten_updates.are_exactly_in(master.published(number))
    assert master.status().attempt == 2 + 7


def test_a_master_killed_on_a_full_disk_has_everything_that_got_a_200(
    federation: Federation, ten_updates: TenUpdates, disk: SmallDisk
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--no-tensorboard")
    *most, last = ten_updates.updates
    for number, step in enumerate(STEPS, start=1):
        put_all(master, most, number)
        answer = fill_up_at(step, master, disk, last, number)

        master.kill()
        if step == MODEL:
            disk.free()
        master.start(ready=False)
        if step in {BODY, RECORD, CLOSE_RECORD}:  # after the next one the old journal is not needed, and makes room
            assert_unready(master, FULL)
            assert (master.status().round, master.status().counted) == (number, 10 if answer.status_code == 200 else 9)
        disk.free()
        master.wait_until_ready()

        if answer.status_code != 200:
            put_all(master, [last], number)
        assert ten_updates.are_exactly_in(master.published(number))


def test_a_batch_waits_in_a_worker_until_its_master_has_room(
    federation: Federation, ten_updates: TenUpdates, disk: SmallDisk
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--no-tensorboard")
    worker = federation.worker("worker", upstream=master.url)
    *most, last = ten_updates.updates
    put_all(worker, most)
    disk.fill()

    with ThreadPoolExecutor(1) as senders:
        sending = senders.submit(put, worker, last)
        refused = "the upstream cannot take a batch now"
        worker.process.wait_until(lambda: bool(worker.events(refused)), "the master refused the batch")
        assert worker.events(refused)[0]["reason"] == FULL
        assert_unready(master, FULL)
        assert worker.get("/readyz").status_code == 200
        disk.free()
        assert sending.result().status_code == 200

    assert ten_updates.are_exactly_in(master.published(1))


def test_a_master_without_room_for_its_first_file_says_so_and_ends_nobodys_attempt(
    federation: Federation, ten_updates: TenUpdates, disk: SmallDisk, s3_server: S3Server
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--no-tensorboard")
    master.kill()
    for path in disk.path.glob("*/*"):
        path.unlink()
    before = store_of(s3_server, federation.bucket_key).read_head()

    for left, reason in ((0, "No space left on device"), (2 * PAGE, "is full")):
        disk.fill(leaving=left)
        ending = refused_start(master)
        assert str(master.state_dir) in ending.sentence
        assert reason in ending.sentence
        assert store_of(s3_server, federation.bucket_key).read_head() == before
        disk.free()

    master.start()
    put_all(master, ten_updates.updates)
    assert ten_updates.are_exactly_in(master.published(1))


def test_tensorboards_file_waits_for_room_and_holds_no_round_up(
    federation: Federation, ten_updates: TenUpdates, tmp_path: Path
) -> None:
    with SmallDisk(tmp_path / "scores") as disk:
        flags = ("--threshold", "10", "--tensorboard-dir", str(disk.path))
        master = federation.master(ten_updates.model, *flags)
        rounds = list(range(1, 9))
        for number in rounds:
            put_all(master, ten_updates.updates, number)
            assert ten_updates.are_exactly_in(master.published(number))
            if number == 1:
                master.process.wait_until(lambda: steps(disk.path, "clients/counted") == [1], "round 1 is written")
                disk.fill()
        waits = "the TensorBoard file waits; training goes on"
        master.process.wait_until(lambda: bool(master.events(waits)), "the file waits")
        written = steps(disk.path, "clients/counted")
        assert written == rounds[: len(written)]
        assert 1 <= len(written) < len(rounds)
        assert master.get("/readyz").status_code == 200

        master.kill()
        master.start()
        assert steps(disk.path, "clients/counted") == written

        disk.free()
        assert master.stop() == 0
        assert steps(disk.path, "clients/counted") == rounds


def test_a_master_is_not_ready_before_there_is_room_for_what_found_none(
    federation: Federation, disk: SmallDisk, tmp_path: Path
) -> None:
    updates = make_ten_large_updates(tmp_path, 256 << 10)
    master = federation.master(updates.model, "--threshold", "10", "--no-tensorboard")
    put_all(master, updates.updates)
    assert updates.are_exactly_in(master.published(1))
    master.restart()  # so that it has to fetch the model of round 0

    *most, last = updates.updates
    put_all(master, most, 2)
    disk.fill(leaving=len(last.path.read_bytes()) - PAGE)
    before = disk.free_bytes
    for _ in range(3):
        assert_unavailable(put(master, last, 2), FULL)
        assert_unavailable(master.get("/v1/rounds/0/model"), FULL)
        assert_unready(master, FULL)
        master.process.wait_until(lambda: disk.free_bytes == before, "nothing of it is kept")
    assert master.get("/v1/rounds/1/model").status_code == 200

    disk.free()
    master.wait_until_ready()
    assert master.get("/v1/rounds/0/model").content == updates.model.read_bytes()
    put_all(master, [last], 2)
    assert updates.are_exactly_in(master.published(2))


def test_a_snapshot_that_finds_no_room_costs_nobody_the_count(federation: Federation, tmp_path: Path) -> None:
    updates = make_ten_large_updates(tmp_path, 8 * MEBIBYTE)
    with SmallDisk(tmp_path / "master-state", size=128 * MEBIBYTE) as disk:
        master = federation.master(updates.model, "--threshold", "10", "--no-tensorboard")
        put_all(master, updates.updates[:7])
        disk.fill(leaving=9 * MEBIBYTE)

        put_all(master, updates.updates[7:8])  # the journal is now worth a snapshot, which takes more than is left

        assert len(master.events("no snapshot could be written")) == 1
        assert not list(master.state_dir.glob("round-*/snapshot-*"))
        assert master.status().counted == 8
        master.kill()
        master.start(ready=False)
        assert master.status().counted == 8

        disk.free()
        master.wait_until_ready()
        put_all(master, updates.updates[8:])
        assert len(master.events("no snapshot could be written")) == 1
        assert updates.are_exactly_in(master.published(1))


def test_a_state_directory_that_becomes_read_only_in_the_midst_of_an_upload_is_said_and_lost_nothing(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--no-tensorboard")
    *most, last = ten_updates.updates
    put_all(master, most)
    serving = master.serving_pid

    with half_an_upload(master, last) as connection, read_only(master.state_dir):
        assert b"Read-only file system" in answer_to_the_rest(connection, last)
        assert_unavailable(put(master, last), "Read-only file system")
        assert_unready(master, "Read-only file system")

    assert master.serving_pid == serving
    master.wait_until_ready()
    put_all(master, [last])
    assert ten_updates.are_exactly_in(master.published(1))
