"""Trained updates on disk, so that a crash between training and counting costs no second training.

A file is ``update-<round>-<base sha256>.safetensors``. It is written under a
temporary name, fsynced and renamed, so whatever bears the final name is whole. A
directory belongs to one client.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from client.events import SavedUpdate
from fedtier.crash_points import CrashPoint, reach
from fedtier.dtypes import Array, TensorSpec
from fedtier.fields import parse_metrics, parse_num_examples
from fedtier.problems import Problem
from fedtier.tensors import TensorFile, write_arrays
from fedtier.upstream import file_sha256

_NAME: Final = re.compile(r"update-([1-9][0-9]*)-([0-9a-f]{64})\.safetensors")
_TEMPORARY: Final = ".partly-written"
_PROBE_BYTES: Final = 1 << 16


class SavedUpdates:
    """The updates in one directory.

    Parameters
    ----------
    directory : Path
        Exists.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, update: SavedUpdate) -> Path:
        """Return where an update's file lies."""
        return self._path(update.round, update.base_sha256)

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
        """Return what an earlier process left, and clear away what it did not finish.

        Raises
        ------
        OSError
        """
        updates = []
        for path in sorted(self._directory.iterdir()):
            if path.name.endswith(_TEMPORARY):
                path.unlink()
            elif name := _NAME.fullmatch(path.name):
                update = _read(path, int(name[1]), name[2])
                if update is not None:
                    updates.append(update)
                else:
                    path.unlink()
        return updates

    def save(
        self,
        key: tuple[int, str],
        arrays: Mapping[str, Array],
        specs: Sequence[TensorSpec],
        *,
        num_examples: int,
        metrics: Mapping[str, float],
    ) -> SavedUpdate:
        """Write an update; it is durable when this returns.

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
        path = self._path(*key)
        temporary = path.with_name(path.name + _TEMPORARY)
        metadata = {"num_examples": str(num_examples), "metrics": json.dumps(dict(metrics), sort_keys=True)}
        with _deleted_on_failure(temporary), open(temporary, "wb", opener=_private) as file:
            write_arrays(file, arrays, specs=specs, metadata=metadata)
            file.flush()
            os.fsync(file.fileno())
        sha256 = file_sha256(temporary)
        reach(CrashPoint.UPDATE_WRITTEN, key[0])
        os.replace(temporary, path)
        _sync_directory(self._directory)
        return SavedUpdate(key[0], key[1], sha256, num_examples, dict(metrics))

    def discard(self, update: SavedUpdate) -> None:
        """Delete an update's file.

        Raises
        ------
        OSError
        """
        self.path(update).unlink(missing_ok=True)

    def _path(self, round_number: int, base_sha256: str) -> Path:
        return self._directory / f"update-{round_number}-{base_sha256}.safetensors"


def make_directory(directory: Path) -> None:
    """Make a directory for updates, for the owner's eyes only, and what leads to it, as durable as they are to be.

    Raises
    ------
    OSError
    """
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in missing:
        _sync_directory(folder.parent)


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner reads, whoever may look into its folder: an update tells of its client's data."""
    return os.open(path, flags, 0o600)


@contextmanager
def _deleted_on_failure(path: Path) -> Iterator[None]:
    """Leave no part of a file behind that did not fit on the disk."""
    try:
        yield
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def _read(path: Path, round_number: int, base_sha256: str) -> SavedUpdate | None:
    """Return what a file says it is, or None when the disk lost a part of it."""
    try:
        metadata = TensorFile(path).header.metadata
        num_examples = parse_num_examples(metadata.get("num_examples"))
        metrics = parse_metrics(metadata.get("metrics"))
    except Problem:
        return None
    return SavedUpdate(round_number, base_sha256, file_sha256(path), num_examples, metrics)


def _sync_directory(directory: Path) -> None:
    """Make a rename durable, where the system lets a program open a directory."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
