"""The file that TensorBoard reads: scanned when it is opened, and appended to by whole records.

What stands in it is known from its records alone. A writer that is killed leaves at most a torn last record, which the
next one cuts off.

TensorBoard forgets what it knows of a tag when a lower step comes after a higher one, so steps rise for each kind of
record. What belongs further up is put there by writing the file anew, under the next number: TensorBoard goes on to
the new file by itself. The old one stays behind, empty, until the folder is opened again.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from master_aggregator.event_records import Kind, NotOurs, Stamp, heading, read_stamp
from master_aggregator.tfrecord import Damaged, Torn, frame, read_frames

_NAME: Final = re.compile(r"events\.out\.tfevents\.([0-9]{10})\.fedtier")
_HEADING: Final[tuple[tuple[Kind, ...], ...]] = (("version",), ("layout",))
_TEMPORARY: Final = "unfinished.fedtier"
_ASIDE: Final = "set-aside-{}.fedtier"
"""Without ``tfevents`` in its name, for TensorBoard not to read it."""


_Key: TypeAlias = tuple[Kind, int]
"""By this a record is known: there is one of each kind and round."""


class InUse(OSError):
    """Another process writes into the folder."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A record in the file, framing included."""

    stamp: Stamp
    start: int
    end: int


_Stamped: TypeAlias = tuple[Stamp, bytes]


class EventsFile:
    """The one event file of a folder. Not for use by several threads at once.

    Parameters
    ----------
    folder : Path
        Made when it is missing, for the owner's eyes only, and locked until `close`.

    Raises
    ------
    InUse, OSError
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._lock = _locked(folder)
        self._file = -1
        self._places: dict[_Key, _Place] = {}
        self._highest: dict[Kind, int] = {}
        try:
            self._open_newest()
        except BaseException:
            self.close()
            raise

    @property
    def stamps(self) -> list[Stamp]:
        """What stands in the file, in order."""
        return [place.stamp for place in self._places.values()]

    @property
    def newest_round(self) -> int:
        """The newest round that is written; 0 when there is none."""
        return self._highest.get("round", 0)

    def round_stamp(self, number: int) -> Stamp:
        """Return what the record of a round that is written says of it."""
        return self._places["round", number].stamp

    def is_intact(self) -> bool:
        """Return whether the file is still there as it was left, so that it can be appended to."""
        try:
            there, ours = self._path.stat(), os.fstat(self._file)
        except OSError:
            return False
        return (there.st_dev, there.st_ino, there.st_size) == (ours.st_dev, ours.st_ino, self._size)

    def add(self, records: Sequence[bytes]) -> None:
        """Write records, all or none of them; those that are written already are left out.

        Parameters
        ----------
        records : sequence of bytes
            From `master_aggregator.event_records`.

        Raises
        ------
        OSError
            The file is as it was before.
        """
        fresh = {
            _key(stamp): (stamp, record) for record in records if _key(stamp := read_stamp(record)) not in self._places
        }
        ordered = sorted(fresh.values(), key=lambda pair: pair[0].round)
        if any(stamp.round < self._highest.get(stamp.kind, 0) for stamp, _ in ordered):
            self._insert(ordered)
        elif ordered:
            self._append(ordered)

    def set_aside(self, why: str) -> None:
        """Take the file out of TensorBoard's sight, whole, and start an empty one.

        Raises
        ------
        OSError
        """
        self._places = {}
        self._set_aside(why)

    def close(self) -> None:
        """Let another process have the folder."""
        descriptors = self._file, self._lock
        self._file = self._lock = -1  # first: a number that is closed twice may be another file's by then
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    @property
    def _size(self) -> int:
        return next(reversed(self._places.values())).end if self._places else 0

    @property
    def _path(self) -> Path:
        return self._path_of(self._number)

    def _path_of(self, number: int) -> Path:
        return self._folder / f"events.out.tfevents.{number:010d}.fedtier"

    def _open_newest(self) -> None:
        (self._folder / _TEMPORARY).unlink(missing_ok=True)
        numbers = sorted(int(match[1]) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name)))
        for number in numbers[:-1]:
            self._path_of(number).unlink()  # all that it holds stands in the newest
        self._use(numbers[-1] if numbers else 1)

    def _use(self, number: int) -> None:
        """Take a file as the one to write to, cut or set aside as far as it cannot be gone on with."""
        self._number = number
        before, self._file = self._file, os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if before >= 0:
            os.close(before)
        places, damage = _scan(self._file)
        self._places, self._highest = {}, {}
        self._take(places)
        if damage is not None:
            self._set_aside(damage)
        elif os.fstat(self._file).st_size > self._size:
            os.ftruncate(self._file, self._size)

    def _set_aside(self, why: str) -> None:
        """Rename the file, and begin the next with those of its records that are known."""
        taken = {path.name for path in self._folder.iterdir()}
        aside = next(name for number in range(1, 1 << 31) if (name := _ASIDE.format(number)) not in taken)
        structlog.get_logger().warning(
            "the TensorBoard file cannot be gone on with, and is set aside",
            file=str(self._folder / aside),
            reason=why,
        )
        self._write_whole(self._read(place) for place in self._places.values())
        os.replace(self._path, self._folder / aside)
        self._use_temporary()

    def _append(self, records: Sequence[_Stamped]) -> None:
        if not self._places:
            records = [*_headed(records[0][0].wall_time), *records]
        places, blocks, end = [], [], self._size
        for stamp, record in records:
            blocks.append(frame(record))
            places.append(_Place(stamp, end, end := end + len(blocks[-1])))
        try:
            _write_at(self._file, b"".join(blocks), self._size)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._take(places)

    def _take(self, places: Iterable[_Place]) -> None:
        for place in places:
            kind, number = _key(place.stamp)
            self._places[kind, number] = place
            self._highest[kind] = max(number, self._highest.get(kind, 0))

    def _insert(self, records: Sequence[_Stamped]) -> None:
        """Write the file anew with more records, by their rounds; the heading is of round 0, and stays in front."""
        old: list[tuple[Stamp, _Place | bytes]] = [(place.stamp, place) for place in self._places.values()]
        merged = sorted([*old, *records], key=lambda pair: pair[0].round)
        self._write_whole(frame(part) if isinstance(part, bytes) else self._read(part) for _, part in merged)
        before = self._path
        self._use_temporary()
        os.truncate(before, 0)  # not removed: a TensorBoard that reads it would not go on to the next

    def _read(self, place: _Place) -> bytes:
        return os.pread(self._file, place.end - place.start, place.start)

    def _write_whole(self, blocks: Iterable[bytes]) -> None:
        """Write the next file durably, under a name that nobody reads."""
        temporary = self._folder / _TEMPORARY
        try:
            with temporary.open("wb") as file:
                for block in blocks:
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _use_temporary(self) -> None:
        os.replace(self._folder / _TEMPORARY, self._path_of(self._number + 1))
        self._use(self._number + 1)


def _key(stamp: Stamp) -> _Key:
    return stamp.kind, stamp.round


def _headed(wall_time: float) -> list[_Stamped]:
    return [(read_stamp(record), record) for record in heading(wall_time)]


def _locked(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InUse(f"another process writes into {folder}; give each master a --tensorboard-dir of its own") from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _scan(descriptor: int) -> tuple[list[_Place], str | None]:
    """Return the records from the file's start that can be gone on with, and what is wrong after them."""
    places: list[_Place] = []
    known: set[_Key] = set()
    damage = None
    try:
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            for framed in read_frames(file):
                stamp = read_stamp(framed.data)
                _require_place(stamp, known)
                known.add(_key(stamp))
                places.append(_Place(stamp, places[-1].end if places else 0, framed.end))
    except Torn:
        pass
    except (Damaged, NotOurs) as error:
        damage = str(error)
    return (places if len(places) >= len(_HEADING) else []), damage


def _require_place(stamp: Stamp, known: set[_Key]) -> None:
    """Check that a record may come after those that are known."""
    expected = _HEADING[len(known)] if len(known) < len(_HEADING) else ("round", "evaluation")
    if stamp.kind not in expected or _key(stamp) in known:
        raise NotOurs(f"a record of the kind {stamp.kind}, round {stamp.round}, where none can be")


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
