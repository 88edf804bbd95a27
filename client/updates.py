"""Trained updates on disk, so that a crash between training and counting costs no second training.

A file is ``update-<round>-<base sha256>-<sha256>.safetensors``. It is written under a
temporary name and renamed; it gets to the disk while it is sent already, but for its
end. Its own SHA-256 in its name shows after a crash whether all of it got there. A settled
update's file is written over by the next one, where that one follows at once: a client that
waits keeps no room for it. A directory belongs to one client.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from client.durability import Durability, sync_directory
from client.events import SavedUpdate
from fedtier.crash_points import CrashPoint, reach
from fedtier.dtypes import Array, TensorSpec
from fedtier.fields import parse_metrics, parse_num_examples
from fedtier.hashed import HashedFile
from fedtier.overwriting import overwritten
from fedtier.problems import Problem
from fedtier.tensors import TensorFile, write_arrays
from fedtier.upstream import file_sha256

_NAME: Final = re.compile(r"update-([1-9][0-9]*)-([0-9a-f]{64})-([0-9a-f]{64})\.safetensors")
_UNNAMED: Final = re.compile(r"update-[1-9][0-9]*-[0-9a-f]{64}\.safetensors")
"""What an earlier release wrote; without its digest nothing shows that the disk has all of it."""
_TEMPORARY: Final = ".partly-written"
_PROBE_BYTES: Final = 1 << 16


class NotDurable(OSError):
    """The disk did not take an update, whose file is deleted."""


class SavedUpdates:
    """The updates in one directory.

    Parameters
    ----------
    directory : Path
        Exists.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written_over = directory / f"update{_TEMPORARY}"
        self._durability: Durability | None = None
        self._newest: Path | None = None
        self._received: SavedUpdate | None = None

    def path(self, update: SavedUpdate) -> Path:
        """Return where an update's file lies."""
        return self._directory / f"update-{update.round}-{update.base_sha256}-{update.sha256}.safetensors"

    def require_room(self) -> None:
        """Check that updates can be saved, before a training is spent on one.

        Raises
        ------
        OSError
        """
        probe = self._directory / f"probe{_TEMPORARY}"
        with _deleted_on_failure(probe):
            probe.write_bytes(bytes(_PROBE_BYTES))
        probe.unlink()

    def found(self) -> list[SavedUpdate]:
        """Return what an earlier process left, durable, and clear away what it did not finish.

        Raises
        ------
        OSError
        """
        updates: dict[tuple[int, str], SavedUpdate] = {}
        for path in sorted(self._directory.iterdir()):
            if path.name.endswith(_TEMPORARY) or _UNNAMED.fullmatch(path.name):
                path.unlink()
            elif name := _NAME.fullmatch(path.name):
                update = _read(path, int(name[1]), name[2], name[3])
                if update is not None and update.key not in updates:
                    with _deleted_on_failure(path):
                        Durability(path).wait()
                    updates[update.key] = update
                else:
                    path.unlink()
        return list(updates.values())

    def save(
        self,
        key: tuple[int, str],
        arrays: Mapping[str, Array],
        specs: Sequence[TensorSpec],
        *,
        num_examples: int,
        metrics: Mapping[str, float],
    ) -> SavedUpdate:
        """Write an update; it is durable when `await_durable` has returned.

        Parameters
        ----------
        key : (int, str)
            Round and base SHA-256.
        arrays : Mapping of str to ndarray
        specs : sequence of TensorSpec
            How they are stored, in the order of the file.
        num_examples : int
        metrics : Mapping of str to float

        Raises
        ------
        OSError
        """
        if self._durability is not None:  # of a file that may be the one to be written over
            with suppress(OSError):
                self.await_durable()
        metadata = {"num_examples": str(num_examples), "metrics": json.dumps(dict(metrics), sort_keys=True)}
        with _deleted_on_failure(self._written_over), overwritten(self._written_over) as file:
            hashed = HashedFile(file)
            write_arrays(hashed, arrays, specs=specs, metadata=metadata)
        reach(CrashPoint.UPDATE_WRITTEN, key[0])
        update = SavedUpdate(key[0], key[1], hashed.sha256, num_examples, dict(metrics))
        path = self.path(update)
        os.replace(self._written_over, path)
        self._newest = path
        self._durability = Durability(path)
        return update

    def await_durable(self) -> None:
        """Return when the update that was saved last is durable.

        Raises
        ------
        NotDurable
            It could not be made so, and is deleted: read again, it would come from memory, and pass for whole.
        """
        if self._durability is None or self._newest is None:
            return
        try:
            self._durability.wait()
        except OSError as error:
            self._newest.unlink(missing_ok=True)
            raise NotDurable(*error.args) from error

    def received(self, update: SavedUpdate) -> None:
        """Note that nothing of an update is on its way any more: the server has all that it wanted of it."""
        self._received = update

    def discard(self, update: SavedUpdate) -> None:
        """Let go of an update: the next one is written over its file, unless `give_back_room` comes before.

        The file of one that was not `received` is deleted: the kernel may be sending of it still, and would send
        what is written there next.

        Raises
        ------
        OSError
        """
        with suppress(OSError):
            self.await_durable()  # Windows neither renames nor deletes a file that is open
        if update != self._received:
            self.path(update).unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError):
            os.replace(self.path(update), self._written_over)

    def give_back_room(self) -> None:
        """Delete what is left of settled updates.

        Raises
        ------
        OSError
        """
        self._written_over.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave on the disk what is to be sent, durable, and nothing else.

        Raises
        ------
        OSError
        """
        self.give_back_room()
        self.await_durable()


def make_directory(directory: Path) -> None:
    """Make a directory for updates, for the owner's eyes only, and what leads to it, as durable as they are to be.

    Raises
    ------
    OSError
    """
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in missing:
        sync_directory(folder.parent)


@contextmanager
def _deleted_on_failure(path: Path) -> Iterator[None]:
    """Leave nothing behind of a file that the disk did not take."""
    try:
        yield
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def _read(path: Path, round_number: int, base_sha256: str, sha256: str) -> SavedUpdate | None:
    """Return what a file says it is, or None when the disk lost a part of it."""
    if file_sha256(path) != sha256:
        return None
    try:
        metadata = TensorFile(path).header.metadata
        num_examples = parse_num_examples(metadata.get("num_examples"))
        metrics = parse_metrics(metadata.get("metrics"))
    except Problem:
        return None
    return SavedUpdate(round_number, base_sha256, sha256, num_examples, metrics)
