from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from fedtier.entries import Entry, add_entry, read_update
from fedtier.exact import ExactSum
from fedtier.fields import sha256_hex
from fedtier.rounds import Head
from master_aggregator import journal as journal_module
from master_aggregator.journal import Contents, Journal, find_journals
from master_aggregator.records import CloseRecord, Damaged
from tests.builders import make_plan, noon, received, trained, update_bytes

PLAN = make_plan()
CLOSE = CloseRecord(
    manifest='{"round": 1}', head=Head(round=1, manifest_sha256="a" * 64, attempt=2), model_sha256="b" * 64
)


class Died(BaseException):
    """The process would have ended."""


def die(reason: str) -> NoReturn:
    raise Died(reason)


class Desk:
    """A journal on disk, and a spool that updates come from."""

    def __init__(self, root: Path, *, snapshot_floor: int = 1 << 30) -> None:
        self.root = root / "state"
        self.spool = root / "spool"
        self.root.mkdir()
        self.spool.mkdir()
        self.journal = Journal.create(self.root, PLAN, noon(), die, snapshot_floor=snapshot_floor)
        self.total = ExactSum(PLAN.sums)

    def update(self, seed: int) -> Entry:
        body = received(self.spool / f"body-{seed}", update_bytes(trained(seed), seed + 1, {"loss": seed}))
        return read_update(PLAN, f"client-{seed}", body)

    def record(self, *seeds: int) -> None:
        for entry in self.journal.append(self.update(seed) for seed in seeds):
            add_entry(self.total, entry)

    def snapshot(self) -> None:
        self.journal.snapshot(self.total)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def load(folder: Path) -> tuple[Journal, Contents, ExactSum]:
    journal, contents = Journal.load(folder, die)
    total = ExactSum(journal.plan.sums)
    for entry in contents.entries:
        add_entry(total, entry)
    return journal, contents, total


def sum_of(*seeds: int) -> ExactSum:
    total = ExactSum(PLAN.sums)
    for seed in seeds:
        total.fold(trained(seed), seed + 1)
    return total


def clients(contents: Contents) -> list[str]:
    return sorted(contributor.client_id for contributor in contents.contributors)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# What was appended comes back.


def test_a_journal_replays_to_the_same_sum_plan_and_contributors(desk: Desk) -> None:
    desk.record(1)
    desk.record(2, 3)
    journal, contents, total = load(desk.journal.folder)
    assert total == desk.total == sum_of(1, 2, 3)
    assert (journal.plan, journal.opened_at) == (PLAN, noon())
    assert clients(contents) == ["client-1", "client-2", "client-3"]
    assert contents.contributors[0].metrics == {"loss": 1.0}
    assert contents.close is None


def test_entries_that_arrive_together_are_committed_together(desk: Desk) -> None:
    desk.record(1, 2, 3)
    assert [name for name in names(desk.journal.folder) if name.startswith("commit")] == ["commit-00000001.json"]


def test_bodies_are_moved_out_of_the_spool(desk: Desk) -> None:
    desk.record(1, 2)
    assert names(desk.spool) == set()


def test_a_journal_that_was_read_back_goes_on(desk: Desk) -> None:
    desk.record(1)
    desk.journal, _, desk.total = load(desk.journal.folder)
    desk.record(2)
    assert load(desk.journal.folder)[2] == sum_of(1, 2)


def test_a_close_record_comes_back_as_it_was(desk: Desk) -> None:
    desk.record(1)
    desk.journal.close(CLOSE)
    assert load(desk.journal.folder)[1].close == CLOSE


def test_journals_are_found_by_round_and_attempt(desk: Desk) -> None:
    (desk.root / "round-nonsense").mkdir()
    (desk.root / "round-000002-attempt-2").mkdir()
    assert find_journals(desk.root) == {(1, 1): desk.journal.folder}


def test_a_journal_whose_deletion_was_cut_short_is_none(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read back without the entries that are gone, it would count them anew under the same attempt."""
    desk.record(1)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        Journal.remove(desk.journal.folder)
    assert (desk.journal.folder / "commit-00000001.json").exists()
    assert find_journals(desk.root) == {}


def test_making_a_journal_anew_leaves_nothing_of_the_old_one(desk: Desk) -> None:
    desk.record(1)
    fresh = Journal.create(desk.root, PLAN, noon(), die)
    assert load(fresh.folder)[1].entries == ()


# Snapshots.


def test_a_snapshot_stands_for_the_entries_before_it(desk: Desk) -> None:
    desk.record(1, 2)
    desk.snapshot()
    desk.record(3)
    _, contents, total = load(desk.journal.folder)
    assert total == sum_of(1, 2, 3)
    assert clients(contents) == ["client-1", "client-2", "client-3"]
    assert [entry.kind for entry in contents.entries] == ["partial", "update"]


def test_snapshots_bound_the_disk(tmp_path: Path) -> None:
    desk = Desk(tmp_path, snapshot_floor=0)
    sum_bytes = 8 * sum(tensor.sum_length for tensor in PLAN.tensors)
    files = []
    for seed in range(40):
        desk.record(seed)
        if desk.journal.wants_snapshot(sum_bytes):
            desk.snapshot()
        files.append(len(names(desk.journal.folder)))
    assert max(files) < 15
    assert load(desk.journal.folder)[2] == sum_of(*range(40))


def test_no_snapshot_is_wanted_below_the_floor(desk: Desk) -> None:
    desk.record(1, 2, 3, 4, 5, 6, 7, 8)
    assert not desk.journal.wants_snapshot(1)


def test_a_snapshot_after_a_crash_that_left_covered_entries_counts_nobody_twice(desk: Desk) -> None:
    desk.record(1)
    desk.record(2)
    before = desk.root / "before"
    shutil.copytree(desk.journal.folder, before)
    desk.snapshot()
    for path in before.iterdir():  # the crash came before the covered entries were deleted
        if not (desk.journal.folder / path.name).exists():
            shutil.copy2(path, desk.journal.folder)
    desk.journal, contents, desk.total = load(desk.journal.folder)
    assert clients(contents) == ["client-1", "client-2"]
    desk.record(3)
    desk.snapshot()
    _, contents, total = load(desk.journal.folder)
    assert clients(contents) == ["client-1", "client-2", "client-3"]
    assert total == sum_of(1, 2, 3)


def test_a_snapshot_that_cannot_be_written_leaves_the_entries(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.record(1, 2)
    before = names(desk.journal.folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            desk.snapshot()
    assert names(desk.journal.folder) == before
    assert load(desk.journal.folder)[2] == sum_of(1, 2)


# Crashes and damage.


def states_of_the_disk(desk: Desk, history: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run a history and yield what lies on the disk before every step that changes it, and at the end."""
    copies = desk.root.parent / "copies"
    copies.mkdir()
    taken: list[Path] = []

    def before(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            taken.append(copies / str(len(taken)))
            shutil.copytree(desk.journal.folder, taken[-1])
            return step(*arguments, **options)

        return run

    with monkeypatch.context() as patch:
        for owner, name in ((os, "rename"), (os, "fsync"), (Path, "unlink"), (Path, "write_bytes")):
            patch.setattr(owner, name, before(getattr(owner, name)))
        history()
    yield from taken
    yield desk.journal.folder


def test_a_crash_at_any_step_loses_nothing_that_was_promised(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    promised: list[tuple[str, ...]] = []
    groups = [(1,), (2, 3), (4,)]
    desk.record(0)

    def history() -> None:
        for group in groups:
            desk.record(*group)
        desk.snapshot()
        desk.record(5)
        desk.snapshot()
        desk.journal.close(CLOSE)

    allowed = [(0,), (0, 1), (0, 1, 2, 3), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 5)]
    sums = {tuple(f"client-{seed}" for seed in seeds): sum_of(*seeds) for seeds in allowed}
    for number, folder in enumerate(states_of_the_disk(desk, history, monkeypatch)):
        twin = desk.root / f"twin-{number}"
        shutil.copytree(folder, twin)
        _, contents, total = load(twin)
        assert total == sums[tuple(clients(contents))], "whole groups only, and exactly their sum"
        promised.append(tuple(clients(contents)))
        _, again, total_again = load(twin)
        assert (clients(again), total_again) == (clients(contents), total), "replaying changes nothing"
    assert promised == sorted(promised, key=len), "what was there once stays"
    assert set(promised) == set(sums)


def test_what_a_crash_left_half_written_is_nothing_and_is_swept_away(desk: Desk) -> None:
    desk.record(1)
    whole = names(desk.journal.folder)
    (desk.journal.folder / "orphan.safetensors").write_bytes(b"a body without a commit")
    (desk.journal.folder / "commit-00000002.json.tmp").write_bytes(b"half a comm")
    (desk.journal.folder / "snapshot-00000002.safetensors").write_bytes(b"half a snapshot")
    assert load(desk.journal.folder)[2] == sum_of(1)
    assert names(desk.journal.folder) == whole


def cut(name: str, *, to: int) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:to])


def overwritten(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def missing(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def flipped_bit(folder: Path) -> None:
    body = folder / "body-1.safetensors"
    content = body.read_bytes()
    body.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(cut("commit-00000002.json", to=-10), id="torn commit"),
        pytest.param(cut("commit-00000002.json", to=0), id="empty commit"),
        pytest.param(overwritten("commit-00000002.json", b"\xff\n\xff"), id="commit that is no text"),
        pytest.param(missing("commit-00000001.json"), id="first commit missing"),
        pytest.param(missing("commit-00000002.json"), id="commit missing between"),
        pytest.param(flipped_bit, id="flipped bit in a body"),
        pytest.param(missing("body-3.safetensors"), id="body missing"),
        pytest.param(overwritten("plan.json", b"{}"), id="torn plan"),
        pytest.param(missing("plan.json"), id="plan missing"),
        pytest.param(overwritten("close.json", b"0" * 64 + b"\n{}"), id="torn close record"),
    ],
)
def test_damage_is_found(desk: Desk, damage: Callable[[Path], object]) -> None:
    for seed in (1, 2, 3):
        desk.record(seed)
    desk.journal.close(CLOSE)
    load(desk.journal.folder)
    damage(desk.journal.folder)
    with pytest.raises(Damaged):
        Journal.load(desk.journal.folder, die)


def test_a_commit_cannot_name_a_file_elsewhere(desk: Desk) -> None:
    outside = desk.root / "outside.safetensors"
    desk.record(1)
    commit = desk.journal.folder / "commit-00000001.json"
    text = commit.read_bytes().split(b"\n", 1)[1].replace(b"body-1", b"../outside")
    shutil.copy(next(desk.journal.folder.glob("body-*")), outside)
    commit.write_bytes(sha256_hex(text).encode() + b"\n" + text)
    with pytest.raises(Damaged, match="not a name of this journal"):
        Journal.load(desk.journal.folder, die)


def test_a_journal_that_is_removed_ends_its_process_and_one_that_cannot_be_read_does_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    desk.journal.require_there()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", unreadable)
        desk.journal.require_there()
    shutil.rmtree(desk.journal.folder)
    with pytest.raises(Died, match="was removed while it was used"):
        desk.journal.require_there()
    desk.journal.folder.touch()
    with pytest.raises(Died, match="was removed while it was used"):
        desk.journal.require_there()


# A full disk.


def full(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_counts_nothing_and_leaves_nothing_behind(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.record(1)
    before = names(desk.journal.folder)
    entries = [desk.update(2), desk.update(3)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            desk.journal.append(entries)
    assert names(desk.journal.folder) == before
    assert names(desk.spool) == set()
    desk.record(4)
    assert load(desk.journal.folder)[2] == sum_of(1, 4)


def test_a_commit_that_does_not_fit_on_the_disk_takes_its_bodies_with_it(tmp_path: Path) -> None:
    script = """
        import resource, signal, sys
        from pathlib import Path
        from tests.master_aggregator.test_journal import Desk, load, names, sum_of

        desk = Desk(Path(sys.argv[1]))
        desk.record(1)
        before = names(desk.journal.folder)
        entries = [desk.update(seed) for seed in (2, 3)]
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
        try:
            desk.journal.append(entries)
        except OSError as error:
            print(error.strerror)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert names(desk.journal.folder) == before
        assert load(desk.journal.folder)[2] == sum_of(1)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("File too large\n", "", 0)


@pytest.mark.parametrize("step", ["rename", "directory"])
def test_an_error_from_the_rename_on_ends_the_process(desk: Desk, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The commit may or may not be on the disk: nobody can say 200, and nobody can say that it is not counted."""
    entries = [desk.update(1)]
    real_rename = os.rename

    def rename(source: Path, destination: Path) -> None:
        if Path(destination).name.startswith("commit-"):
            if step == "rename":
                full()
            monkeypatch.setattr(journal_module, "sync_directory", full)
        real_rename(source, destination)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(Died, match="start again to replay it"):
        desk.journal.append(entries)
    assert len([name for name in names(desk.journal.folder) if name.startswith("body-")]) == 1
