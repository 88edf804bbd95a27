from __future__ import annotations

import json
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from client.durability import Durability
from client.events import SavedUpdate
from client.updates import NotDurable, SavedUpdates, make_directory
from fedtier.bodies import BLOCK
from fedtier.dtypes import TensorSpec
from fedtier.upstream import file_sha256

BASE = "b" * 64
SPECS = [TensorSpec("w", "F32", (2,)), TensorSpec("half", "BF16", (1,))]
ARRAYS = {"half": np.array([1.5], np.float32), "w": np.array([1, 2], np.float32)}


def save(where: Path | SavedUpdates, number: int = 7, value: float = 1.5) -> SavedUpdate:
    updates = where if isinstance(where, SavedUpdates) else SavedUpdates(where)
    arrays = {**ARRAYS, "half": np.array([value], np.float32)}
    update = updates.save((number, BASE), arrays, SPECS, num_examples=600, metrics={"loss": 0.31})
    updates.await_durable()
    return update


def test_an_update_is_a_safetensors_file_with_its_examples_and_metrics(tmp_path: Path) -> None:
    update = save(tmp_path)

    path = tmp_path / f"update-7-{BASE}-{update.sha256}.safetensors"
    assert SavedUpdates(tmp_path).path(update) == path
    assert update.sha256 == file_sha256(path)
    with safe_open(path, framework="np") as file:
        assert file.metadata()["num_examples"] == "600"
        assert json.loads(file.metadata()["metrics"]) == {"loss": 0.31}
        np.testing.assert_array_equal(file.get_tensor("w"), ARRAYS["w"])
        assert list(file.keys()) == ["half", "w"]


def synced(monkeypatch: pytest.MonkeyPatch, before: Callable[[], object] = lambda: None) -> list[int]:
    """Keep the inode of whatever is fsynced."""
    inodes: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        before()
        inodes.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return inodes


def test_an_update_and_its_name_get_to_the_disk_while_other_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates, goes_on = SavedUpdates(tmp_path), threading.Event()
    inodes = synced(monkeypatch, goes_on.wait)

    update = updates.save((7, BASE), ARRAYS, SPECS, num_examples=600, metrics={})
    assert inodes == []
    goes_on.set()
    updates.await_durable()

    assert inodes == [updates.path(update).stat().st_ino, tmp_path.stat().st_ino]


def test_an_update_that_does_not_get_to_the_disk_is_not_taken_for_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = SavedUpdates(tmp_path)

    def fail(_: int) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(os, "fsync", fail)
    updates.save((7, BASE), ARRAYS, SPECS, num_examples=600, metrics={})

    with pytest.raises(NotDurable, match="the disk is gone"):
        updates.await_durable()
    with pytest.raises(NotDurable, match="the disk is gone"):
        updates.close()
    monkeypatch.undo()  # a later fsync of the same pages would find nothing left to write, and succeed
    assert SavedUpdates(tmp_path).found() == []
    assert list(tmp_path.iterdir()) == []


def test_another_process_finds_what_was_saved(tmp_path: Path) -> None:
    updates = [save(tmp_path, 7), save(tmp_path, 8)]

    assert SavedUpdates(tmp_path).found() == updates


def test_what_was_found_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = SavedUpdates(tmp_path).path(save(tmp_path))
    inodes = synced(monkeypatch)

    SavedUpdates(tmp_path).found()

    assert inodes == [path.stat().st_ino, tmp_path.stat().st_ino]


def test_what_was_found_and_does_not_get_to_the_disk_is_not_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path)

    def fail(_: int) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        SavedUpdates(tmp_path).found()

    monkeypatch.undo()
    assert SavedUpdates(tmp_path).found() == []


def test_of_two_updates_for_one_round_one_is_kept(tmp_path: Path) -> None:
    updates = [save(tmp_path), save(tmp_path, value=2.5)]

    (found,) = SavedUpdates(tmp_path).found()

    assert found in updates
    assert list(tmp_path.iterdir()) == [SavedUpdates(tmp_path).path(found)]


def test_what_a_crash_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    path = SavedUpdates(tmp_path).path(save(tmp_path))
    unfinished = path.with_name("update.partly-written")
    unfinished.write_bytes(path.read_bytes()[:50])

    assert [update.round for update in SavedUpdates(tmp_path).found()] == [7]
    assert not unfinished.exists()


def test_what_an_earlier_release_left_without_its_digest_is_cleared_away(tmp_path: Path) -> None:
    path = SavedUpdates(tmp_path).path(save(tmp_path))
    path.rename(tmp_path / f"update-7-{BASE}.safetensors")

    assert SavedUpdates(tmp_path).found() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_that_the_disk_cut_short_is_no_update(tmp_path: Path, keep: int) -> None:
    path = SavedUpdates(tmp_path).path(save(tmp_path))
    path.write_bytes(path.read_bytes()[:keep])

    assert SavedUpdates(tmp_path).found() == []
    assert not path.exists()


def test_a_file_of_which_the_disk_has_other_bytes_is_no_update(tmp_path: Path) -> None:
    path = SavedUpdates(tmp_path).path(save(tmp_path))
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    assert SavedUpdates(tmp_path).found() == []
    assert not path.exists()


def test_an_update_that_does_not_fit_on_the_disk_takes_no_room_there(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = {"w": np.zeros(1 << 20, np.float32)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))  # as a full disk, for one file
    try:
        with pytest.raises(OSError, match="large"):
            SavedUpdates(tmp_path).save(
                (7, BASE), large, [TensorSpec("w", "F32", (1 << 20,))], num_examples=1, metrics={}
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_no_update_is_begun(tmp_path: Path) -> None:
    SavedUpdates(tmp_path).require_room()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="proc"):
        SavedUpdates(Path("/proc")).require_room()


def test_the_folders_that_lead_to_updates_are_as_durable_as_they(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    make_directory(tmp_path / "clients" / "client-3")
    make_directory(tmp_path / "clients" / "client-3")

    assert sorted(synced) == sorted(path.stat().st_ino for path in (tmp_path, tmp_path / "clients"))


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "update-x.safetensors").write_text("mine too")

    assert SavedUpdates(tmp_path).found() == []
    assert len(list(tmp_path.iterdir())) == 2


def test_the_next_update_is_written_over_a_settled_one(tmp_path: Path) -> None:
    updates = SavedUpdates(tmp_path)
    large = {"w": np.zeros(BLOCK, np.float32)}
    first = updates.save((6, BASE), large, [TensorSpec("w", "F32", (BLOCK,))], num_examples=1, metrics={})
    file = updates.path(first).stat().st_ino

    updates.received(first)
    updates.discard(first)
    assert not updates.path(first).exists()
    second = save(updates)

    assert updates.path(second).stat().st_ino == file
    assert file_sha256(updates.path(second)) == second.sha256
    assert SavedUpdates(tmp_path).found() == [second]


def test_room_that_is_given_back_is_not_that_of_an_update_still_to_be_sent(tmp_path: Path) -> None:
    updates = SavedUpdates(tmp_path)
    kept, settled = save(updates, 7), save(updates, 8)
    updates.received(settled)
    updates.discard(settled)
    assert len(list(tmp_path.iterdir())) == 2

    updates.give_back_room()
    updates.give_back_room()

    assert list(tmp_path.iterdir()) == [updates.path(kept)]


def test_a_file_is_not_renamed_while_it_is_open_on_its_way_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates, waited_for = SavedUpdates(tmp_path), threading.Event()
    inodes = synced(monkeypatch, waited_for.wait)
    update = updates.save((7, BASE), ARRAYS, SPECS, num_examples=600, metrics={})
    wait = Durability.wait

    def said_and_waited(durability: Durability) -> None:
        waited_for.set()
        wait(durability)

    monkeypatch.setattr(Durability, "wait", said_and_waited)
    try:
        updates.discard(update)
        assert len(inodes) == 2
    finally:
        waited_for.set()


def test_an_update_is_not_written_over_one_of_which_bytes_may_still_be_on_their_way(tmp_path: Path) -> None:
    updates = SavedUpdates(tmp_path)
    counted, refused = save(updates, 5), save(updates, 6)
    updates.received(counted)
    with updates.path(refused).open("rb") as on_its_way:
        content = on_its_way.read()

        updates.discard(refused)
        save(updates, 7, value=2.5)

        on_its_way.seek(0)
        assert on_its_way.read() == content


def test_settling_an_update_twice_is_fine_and_nothing_of_it_is_left_in_the_end(tmp_path: Path) -> None:
    update = save(tmp_path)
    updates = SavedUpdates(tmp_path)

    updates.discard(update)
    updates.discard(update)
    updates.close()

    assert list(tmp_path.iterdir()) == []
