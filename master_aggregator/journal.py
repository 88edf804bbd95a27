"""The durable state of the open round: what was promised to clients, and what is to be published.

A journal is a folder ``round-<r>-attempt-<a>``. Its files, in the order in which they appear:

``plan.json``
    The round's plan, and when it was opened. A folder without it is no journal: a crash came before it was made, or
    while it was deleted.
``commit-<n>.json``
    Entries that became durable together, by file and digest. One that is a snapshot
    stands for all entries before it.
``<name>.safetensors``
    The bodies of entries; without a commit that names them they are nothing.
``model.safetensors``, ``close.json``
    The round's model, and the exact manifest and head to be published.

Every JSON file starts with the SHA-256 of the rest, and appears by rename only after
it and everything that it names is on disk. The model alone may be lost with the
machine: the entries give the same bytes again.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn

from fedtier.crash_points import CrashPoint, reach
from fedtier.entries import Entry, Received
from fedtier.exact import ExactSum
from fedtier.rounds import Contributor, RoundPlan
from fedtier.serving.statedir import sync_directory, sync_file
from fedtier.sum_files import write_sum
from fedtier.upstream import file_sha256
from master_aggregator.records import CloseRecord, CommitRecord, Damaged, EntryRecord, PlanRecord, read_record, sealed

_FOLDER: Final = re.compile(r"round-([0-9]{6,})-attempt-([0-9]+)")
_COMMIT: Final = re.compile(r"commit-([0-9]{8})\.json")
_BASE: Final = "base.safetensors"
_MODEL: Final = "model.safetensors"
_PLAN: Final = "plan.json"
_CLOSE: Final = "close.json"
SNAPSHOT_AFTER: Final = 4
"""A snapshot is made when the entries since the last one take so many times its size."""
SNAPSHOT_FLOOR: Final = 64 << 20
"""Bytes up to which the entries are left as they are."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a journal holds.

    Parameters
    ----------
    entries : tuple of Entry
        Their bodies lie in the journal; added up they are the round's sum.
    close : CloseRecord or None
    """

    entries: tuple[Entry, ...]
    close: CloseRecord | None

    @property
    def contributors(self) -> tuple[Contributor, ...]:
        """Everyone who is counted."""
        return tuple(contributor for entry in self.entries for contributor in entry.contributors)


class Journal:
    """The journal of one round and attempt.

    Parameters
    ----------
    folder : Path
    plan : RoundPlan
    opened_at : datetime
    die : callable
        Ends the process: after a rename that may or may not have reached the disk,
        nobody can say what is durable.
    snapshot_floor : int
        Bytes of entries up to which no snapshot is wanted.
    """

    def __init__(
        self,
        folder: Path,
        plan: RoundPlan,
        opened_at: datetime,
        die: Callable[[str], NoReturn],
        *,
        snapshot_floor: int = SNAPSHOT_FLOOR,
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.opened_at = opened_at
        self._die = die
        self._snapshot_floor = snapshot_floor
        self._next_commit = 1
        self._since_snapshot = 0

    @classmethod
    def create(
        cls,
        root: Path,
        plan: RoundPlan,
        opened_at: datetime,
        die: Callable[[str], NoReturn],
        *,
        snapshot_floor: int = SNAPSHOT_FLOOR,
    ) -> Journal:
        """Make the journal of a new round durable, with its plan."""
        folder = root / f"round-{plan.round:06d}-attempt-{plan.attempt}"
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        journal = cls(folder, plan, opened_at, die, snapshot_floor=snapshot_floor)
        record = PlanRecord(plan=plan, opened_at=opened_at)
        journal._write_record(_PLAN, record.model_dump_json(by_alias=True).encode())
        sync_directory(root)
        return journal

    @property
    def model_path(self) -> Path:
        """Where the round's model is written before the round is closed."""
        return self.folder / _MODEL

    @property
    def base_path(self) -> Path:
        """Where the model lies that opened the round; fetched again when the journal is read back."""
        return self.folder / _BASE

    def append(self, entries: Iterable[Entry]) -> list[Entry]:
        """Make entries durable together.

        Returns
        -------
        list of Entry
            The same, with their bodies in the journal.

        Raises
        ------
        OSError
            They could not be written; nothing is durable, their bodies are gone.
        """
        entries = list(entries)
        moved: list[Entry] = []
        try:
            for entry in entries:
                moved.append(self._adopt(entry))
            size = sum(entry.body.path.stat().st_size for entry in moved)
            reach(CrashPoint.BODIES_ADOPTED, self.plan.round)
            self._commit(moved, snapshot=False)
        except OSError:
            for entry in [*entries, *moved]:
                entry.body.path.unlink(missing_ok=True)
            raise
        self._since_snapshot += size
        return moved

    def wants_snapshot(self, sum_bytes: int) -> bool:
        """Return whether the entries since the last snapshot take more disk than they are worth."""
        return self._since_snapshot > max(SNAPSHOT_AFTER * sum_bytes, self._snapshot_floor)

    def snapshot(self, total: ExactSum) -> None:
        """Replace all entries by their sum; they are deleted when it is durable.

        Parameters
        ----------
        total : ExactSum
            Of exactly the entries of this journal.

        Raises
        ------
        OSError, Damaged
            It could not be written, or the entries cannot be read; they stay.
        """
        covered = self._live()
        contributors = tuple(c for _, commit in covered for entry in commit.entries for c in entry.contributors)
        path = self.folder / f"snapshot-{self._next_commit:08d}.safetensors"
        try:
            body = write_sum(total, path, {})
            sync_file(path)
            reach(CrashPoint.SNAPSHOT_WRITTEN, self.plan.round)
            entry = Entry("partial", body, self.plan.round, self.plan.attempt, total.total_weight, contributors)
            self._commit([entry], snapshot=True)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        reach(CrashPoint.SNAPSHOT_COMMITTED, self.plan.round)
        self._since_snapshot = 0
        self._sweep()

    def require_there(self) -> None:
        """End the process where somebody removed the journal: what it promised can only be counted anew."""
        try:
            (self.folder / _PLAN).stat()
        except (FileNotFoundError, NotADirectoryError):
            self._die(f"the journal {self.folder} was removed while it was used; start again for a new attempt")
        except OSError:  # a disk that cannot be read is another trouble
            return

    def close(self, record: CloseRecord) -> None:
        """Make durable what is going to be published."""
        self._write_record(_CLOSE, record.model_dump_json().encode())

    @staticmethod
    def remove(folder: Path) -> None:
        """Delete a journal that nobody needs any more; cut short, it leaves none that has lost entries."""
        with suppress(OSError):
            (folder / _PLAN).unlink()
        shutil.rmtree(folder, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path, die: Callable[[str], NoReturn]) -> tuple[Journal, Contents]:
        """Read a journal back, verifying every digest.

        Raises
        ------
        Damaged
        """
        try:
            record = read_record(folder / _PLAN, PlanRecord)
            journal = cls(folder, record.plan, record.opened_at, die)
            entries = journal._replay()
            close = folder / _CLOSE
            closed = read_record(close, CloseRecord) if close.exists() else None
        except OSError as error:
            raise Damaged(f"{folder}: {error}") from None
        return journal, Contents(tuple(entries), closed)

    def _replay(self) -> list[Entry]:
        live = self._live()
        entries = [self._restore(record) for _, commit in live for record in commit.entries]
        self._next_commit = live[-1][0] + 1 if live else 1
        self._since_snapshot = sum(entry.body.path.stat().st_size for entry in entries)
        self._sweep()
        return entries

    def _live(self) -> list[tuple[int, CommitRecord]]:
        """Return the commits that make up the sum: the newest snapshot, if there is one, and all after it.

        Raises
        ------
        Damaged
            One of them is missing, or is not what was written.
        """
        live: list[tuple[int, CommitRecord]] = []
        for number in reversed(self._commits()):
            if live and number != live[-1][0] - 1:
                raise Damaged(f"{self._commit_path(live[-1][0] - 1)} is missing")
            live.append((number, self._read_commit(number)))
            if live[-1][1].snapshot:
                return live[::-1]
        if live and live[-1][0] != 1:
            raise Damaged(f"{self._commit_path(live[-1][0] - 1)} is missing")
        return live[::-1]

    def _sweep(self) -> None:
        """Delete what no commit needs: entries that a snapshot covers, and what a crash left half written."""
        needed = {_PLAN, _CLOSE, _MODEL, _BASE}
        for number, commit in self._live():
            needed |= {self._commit_path(number).name, *(record.name for record in commit.entries)}
        with suppress(OSError):  # what stays does no harm but to the disk
            for path in self.folder.iterdir():
                if path.name not in needed:
                    path.unlink(missing_ok=True)

    def _restore(self, record: EntryRecord) -> Entry:
        path = self.folder / record.name
        if path.parent != self.folder or record.kind not in {"update", "partial"}:
            raise Damaged(f"{path}: not a name of this journal")
        if file_sha256(path) != record.sha256:
            raise Damaged(f"{path}: its SHA-256 is not {record.sha256}")
        return Entry(
            "update" if record.kind == "update" else "partial",
            Received(record.name, path, record.sha256),
            self.plan.round,
            self.plan.attempt,
            record.total_weight,
            record.contributors,
        )

    def _adopt(self, entry: Entry) -> Entry:
        name = f"{entry.body.name}.safetensors"
        path = self.folder / name
        sync_file(entry.body.path)
        os.rename(entry.body.path, path)
        return replace(entry, body=Received(name, path, entry.body.sha256))

    def _commit(self, entries: Iterable[Entry], *, snapshot: bool) -> None:
        records = tuple(
            EntryRecord(
                kind=entry.kind,
                name=entry.body.path.name,
                sha256=entry.body.sha256,
                total_weight=entry.total_weight,
                contributors=entry.contributors,
            )
            for entry in entries
        )
        # The names of the bodies are durable before the commit that names them can be.
        sync_directory(self.folder)
        data = CommitRecord(snapshot=snapshot, entries=records).model_dump_json().encode()
        self._write_record(self._commit_path(self._next_commit).name, data)
        self._next_commit += 1

    def _commits(self) -> list[int]:
        return sorted(int(m[1]) for path in self.folder.iterdir() if (m := _COMMIT.fullmatch(path.name)))

    def _commit_path(self, number: int) -> Path:
        return self.folder / f"commit-{number:08d}.json"

    def _read_commit(self, number: int) -> CommitRecord:
        return read_record(self._commit_path(number), CommitRecord)

    def _write_record(self, name: str, data: bytes) -> None:
        """Write a record that appears whole or not at all."""
        temporary = self.folder / f"{name}.tmp"
        try:
            temporary.write_bytes(sealed(data))
            sync_file(temporary)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        reach(CrashPoint.RECORD_WRITTEN, self.plan.round)
        try:
            os.rename(temporary, self.folder / name)
            reach(CrashPoint.RECORD_RENAMED, self.plan.round)
            sync_directory(self.folder)
        except OSError as error:
            self._die(f"the journal {self.folder} may be incomplete ({error.strerror}); start again to replay it")


def find_journals(root: Path) -> dict[tuple[int, int], Path]:
    """Return the folders of all journals, by (round, attempt)."""
    found = ((_FOLDER.fullmatch(path.name), path) for path in root.iterdir())
    return {(int(match[1]), int(match[2])): path for match, path in found if match and (path / _PLAN).exists()}


def remove_others(journal: Journal) -> None:
    """Delete all journals beside this one, and what is left of journals that were not made, or not deleted, whole."""
    for path in journal.folder.parent.iterdir():
        if _FOLDER.fullmatch(path.name) and path != journal.folder:
            Journal.remove(path)
