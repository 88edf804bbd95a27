from __future__ import annotations

import errno
import io
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fedtier.problems import StartupError, Unavailable
from fedtier.serving.intake import BodyHeaders, receive_body
from fedtier.serving.statedir import StateDirectory
from tests.file_sizes import room_for
from tests.system.disks import SmallDisk


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "a" / "b")
    for folder in (state.path, state.spool, state.models):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_is_one_processs(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path)
    script = (
        "import sys; from pathlib import Path; from fedtier.serving.statedir import StateDirectory\n"
        "StateDirectory(Path(sys.argv[1]))"
    )
    other = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "is in use by another process" in other.stderr
    first.close()
    StateDirectory(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=r"cannot be used: .* choose another with --state-dir"):
        StateDirectory(tmp_path / "file" / "state")


def test_spool_files_have_names_that_nobody_can_guess(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    names = {state.new_spool_file() for _ in range(100)}
    assert len(names) == 100
    assert all(path.parent == state.spool and len(path.name) == 32 for path in names)


def test_what_an_earlier_process_was_receiving_is_deleted(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.new_spool_file().write_bytes(b"half")
    state.clear_spool()
    assert list(state.spool.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk .* is full"),
        (errno.EDQUOT, "disk .* is full"),
        (errno.EIO, "cannot be used"),
        (errno.EMFILE, "descriptor"),
    ],
)
def test_a_failed_write_is_said_until_writing_works_again(tmp_path: Path, number: int, words: str) -> None:
    state = StateDirectory(tmp_path)
    assert state.unready() is None
    refusal = state.refuse(OSError(number, "the reason"))
    assert refusal.retry_after is not None
    assert refusal.status == 503
    assert re.search(words, refusal.detail)
    assert state.unready() is None, "the disk works, so the trouble is over"
    assert list(state.spool.iterdir()) == []


def test_trouble_stays_while_nothing_can_be_written(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.refuse(OSError(errno.ENOSPC, "No space left on device"))
    with room_for(1000):
        assert state.unready() == "the disk of the state directory is full"
        assert state.unready() is not None
        assert list(state.spool.iterdir()) == []
    assert state.unready() is None


def test_trouble_stays_while_there_is_no_room_for_what_found_none(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", size=1 << 20) as disk:
        state = StateDirectory(disk.path)
        assert state.unready() is None
        for wanted in (600_000, 20):
            state.refuse(OSError(errno.ENOSPC, "No space left on device"), wanted=wanted)
        disk.fill(leaving=500_000)
        assert state.unready() == "the disk of the state directory is full"
        disk.free()
        assert state.unready() is None
        disk.fill(leaving=500_000)
        state.refuse(OSError(errno.ENOSPC, "No space left on device"), wanted=20)
        assert state.unready() is None, "what wanted more has found room since"


def test_a_file_that_cannot_be_read_wants_no_room(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.refuse(OSError(errno.EIO, "Input/output error"), wanted=1 << 60)
    assert state.unready() is None


def test_trouble_stays_while_the_disk_takes_a_file_and_no_second_one(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", inodes=20) as disk:
        state = StateDirectory(disk.path)
        disk.use_up_inodes(leaving=1)
        assert state.unready() == "the disk of the state directory is full"
        disk.free()
        assert state.unready() is None


def test_a_process_is_not_ready_before_it_has_written_something(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    with room_for(1000):
        assert state.unready() == "the disk of the state directory is full"
    assert state.unready() is None


@pytest.mark.parametrize("gone", [".", "lock", "spool", "models"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_removed_or_replaced_ends_its_process(tmp_path: Path, gone: str, replaced: bool) -> None:
    state = StateDirectory(tmp_path / "state")
    moved = state.path / gone
    moved.rename(tmp_path / "elsewhere")
    if replaced and gone in {".", "lock"}:
        StateDirectory(state.path)
    with pytest.raises(SystemExit, match=r"state directory .* was removed, or something in it, .*; start it again"):
        state.unready()
    with pytest.raises(SystemExit, match="was removed"):
        state.refuse(OSError(errno.ENOENT, "No such file or directory"))


@pytest.mark.parametrize("gone", [".", "spool", "models"])
def test_a_folder_in_whose_place_there_is_a_file_ends_its_process(tmp_path: Path, gone: str) -> None:
    state = StateDirectory(tmp_path / "state")
    moved = state.path / gone
    moved.rename(tmp_path / "elsewhere")
    (state.path / gone).touch()
    with pytest.raises(SystemExit, match="was removed"):
        state.unready()


def test_what_fails_while_it_is_tried_whether_writing_works_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = StateDirectory(tmp_path)
    real = os.statvfs

    def statvfs(path: Path) -> os.statvfs_result:
        state.refuse(OSError(errno.ENOSPC, "No space left on device"), wanted=1 << 60)
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", statvfs)
        assert state.unready() == "the disk of the state directory is full"
    assert state.unready() == "the disk of the state directory is full", "there is no room for so much"


def test_what_cannot_be_deleted_ends_nothing(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    in_the_way = state.new_spool_file()
    in_the_way.mkdir()
    state.drop(in_the_way)
    state.drop(state.new_spool_file())
    assert in_the_way.exists()


def test_the_spool_takes_half_of_the_disk_unless_told(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", size=1 << 20) as disk:
        state = StateDirectory(disk.path)
        with state.admitted_file(1 << 19), pytest.raises(Unavailable, match="524288 of 524288 bytes"):
            state.admitted_file(1).__enter__()


def test_a_batch_counts_with_what_it_takes_and_is_never_refused(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, spool_max=10)
    with state.own_file(100) as path:
        assert state.spool_bytes == 100
        path.write_bytes(b"batch")
    assert state.spool_bytes == 5
    state.drop(path)
    assert state.spool_bytes == 0


def test_a_batch_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    with pytest.raises(IsADirectoryError), state.own_file(100):
        state.spool.write_bytes(b"")
    assert (state.spool_bytes, list(state.spool.iterdir())) == (0, [])


def test_what_could_not_be_deleted_still_counts(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    with state.admitted_file(100) as path:
        path.mkdir()
    state.drop(path)
    assert state.spool_bytes == 100


def test_after_a_restart_nothing_is_taken(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, spool_max=100)
    with state.admitted_file(100) as path:
        path.write_bytes(bytes(100))
    state.close()
    again = StateDirectory(tmp_path, spool_max=100)
    again.clear_spool()
    with again.admitted_file(100):
        assert again.spool_bytes == 100


def drop_body(state: StateDirectory, size: int) -> int:
    """Take a body and drop it; returns the number of its file."""
    with state.admitted_file(size) as path:
        path.write_bytes(bytes(size))
    number = path.stat().st_ino
    state.drop(path)
    return number


def test_a_file_that_is_dropped_is_written_over_and_does_not_count(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    numbers = {drop_body(state, 100_000)}
    assert (state.spool_bytes, list(state.spool.iterdir())) == (0, [])
    with state.own_file(100_000) as path:
        numbers.add(path.stat().st_ino)
    assert len(numbers) == 1


def test_spare_files_and_bodies_take_no_more_than_bodies_may(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, spool_max=250_000)
    with state.admitted_file(100_000) as first, state.admitted_file(100_000) as second:
        for path in (first, second):
            path.write_bytes(bytes(100_000))
    state.drop(first)
    state.drop(second)
    assert len(list((tmp_path / "spares").iterdir())) == 2
    with state.admitted_file(60_000):
        assert len(list((tmp_path / "spares").iterdir())) == 1


def test_small_bodies_hold_no_more_of_the_disk_than_they_announced(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, spool_max=1_000_000)
    for _ in range(3):
        drop_body(state, 800_000)
        with state.admitted_file(70_000):
            pass  # slow: nothing was written over what lay there
    on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert on_disk <= 1_000_000
    assert state.spool_bytes == 3 * 70_000


def test_a_full_disk_takes_the_spare_files(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    drop_body(state, 100_000)
    assert not state.make_room(OSError(errno.EIO, "Input/output error"))
    assert len(list((tmp_path / "spares").iterdir())) == 1
    state.refuse(OSError(errno.ENOSPC, "No space left on device"))
    assert list((tmp_path / "spares").iterdir()) == []
    assert not state.make_room(OSError(errno.ENOSPC, "No space left on device")), "nothing more can be given up"


def test_on_a_full_disk_nothing_is_kept_until_there_is_room(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.refuse(OSError(errno.ENOSPC, "No space left on device"), wanted=100_000)
    drop_body(state, 100_000)
    assert (list(state.spool.iterdir()), list((tmp_path / "spares").iterdir())) == ([], [])
    assert state.unready() is None
    drop_body(state, 100_000)
    assert len(list((tmp_path / "spares").iterdir())) == 1


def test_a_full_disk_that_has_room_again_keeps_files_whoever_asks_for_it(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    drop_body(state, 100_000)
    assert state.make_room(OSError(errno.ENOSPC, "No space left on device"))
    drop_body(state, 100_000)
    assert len(list((tmp_path / "spares").iterdir())) == 1, "giving it up has helped"
    state.refuse(OSError(errno.ENOSPC, "No space left on device"), wanted=100_000)
    drop_body(state, 200_000)
    assert len(list((tmp_path / "spares").iterdir())) == 1, "more was written than found no room"


def test_a_body_goes_on_where_spare_files_made_room_for_it(tmp_path: Path) -> None:
    body = bytes(range(256)) * 1600
    with SmallDisk(tmp_path / "disk", size=1 << 20) as disk:
        state = StateDirectory(disk.path, spool_max=1 << 30)
        with state.admitted_file(100_000) as one, state.admitted_file(300_000) as other:
            one.write_bytes(bytes(100_000))
            other.write_bytes(bytes(300_000))
        state.drop(one)
        state.drop(other)
        disk.fill(leaving=50_000)
        received = receive_body(io.BytesIO(body), BodyHeaders(len(body), None), state, lambda: None)
        assert received.path.read_bytes() == body
        assert list((disk.path / "spares").iterdir()) == []


def test_what_an_earlier_process_kept_is_deleted(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    drop_body(state, 100_000)
    state.close()
    StateDirectory(tmp_path).clear_spool()
    assert list((tmp_path / "spares").iterdir()) == []
