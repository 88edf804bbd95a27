"""Splits a data set into files, one per client and one to test with, and notes beside them what they are made from.

The note is what lets a local run keep the shards of the run before.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from client.datasets.catalogue import Dataset, Origin
from client.datasets.partition import Partition, split
from client.datasets.shards import client_shard, held_out_shard, write_shard, write_shards
from fedtier.problems import StartupError

_NOTE: Final = "made-from.json"
_TORN: Final = re.compile(r"(client-[0-9]+|test)\.safetensors\.[0-9a-f]{32}")
"""What a split that was killed leaves behind of the shard that it was writing."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the bytes of all shards, together with the data.

    Parameters
    ----------
    dataset : Dataset
    clients : int
    seed : int
    partition : Partition
    """

    dataset: Dataset
    clients: int
    seed: int
    partition: Partition

    def to_json(self) -> bytes:
        """Return the note that lies beside the shards."""
        members = {
            "dataset": self.dataset.name,
            "clients": self.clients,
            "seed": self.seed,
            "partition": asdict(self.partition),
        }
        return f"{json.dumps(members)}\n".encode()


@dataclass(frozen=True, slots=True)
class Dealt:
    """What was dealt out.

    Parameters
    ----------
    recipe : Recipe
    clients : tuple of Path
        The clients' shards, in order.
    test : Path
    counts : ndarray of int64, shape [clients, labels]
        Examples of each label that each client got.
    test_counts : ndarray of int64, shape [labels]
    unused : int
        Training examples that nobody got.
    """

    recipe: Recipe
    clients: tuple[Path, ...]
    test: Path
    counts: npt.NDArray[np.int64]
    test_counts: npt.NDArray[np.int64]
    unused: int


@dataclass(frozen=True, slots=True)
class Portion:
    """What some clients got of a split among all.

    Parameters
    ----------
    recipe : Recipe
        Of the whole split.
    clients : Mapping of int to Path
        Their shards, by the client's number.
    counts : ndarray of int64, shape [of those clients, labels]
        Examples of each label that each of them got, in their order.
    """

    recipe: Recipe
    clients: Mapping[int, Path]
    counts: npt.NDArray[np.int64]


def split_into(directory: Path, recipe: Recipe, origin: Origin, *, flag: str) -> Dealt:
    """Load a data set, and write a shard per client, the test shard and the note.

    Parameters
    ----------
    directory : Path
        Made when it is missing; shards of an earlier split are replaced or removed.
    recipe : Recipe
    origin : Origin
    flag : str
        By which the user chose the directory.

    Raises
    ------
    StartupError
        The data cannot be had or not be split so, or the shards cannot be written; or another process writes its own
        there now.
    """
    _require_place(directory, flag)
    data = recipe.dataset.load(origin)
    parts = split(data.train.labels, recipe.clients, recipe.seed, recipe.partition)
    with _told_when_unwritable(directory, flag):
        directory.mkdir(parents=True, exist_ok=True)
        with _held_note(directory, flag) as note:
            note.truncate()
            _tidy(directory)
            paths = write_shards(directory, data.train, parts, data.test)
            note.write(recipe.to_json())
    kinds = len(recipe.dataset.label_names)
    counts = np.stack([_label_counts(data.train.labels[part], kinds) for part in parts])
    return Dealt(
        recipe,
        tuple(paths),
        held_out_shard(directory),
        counts,
        _label_counts(data.test.labels, kinds),
        len(data.train.labels) - int(counts.sum()),
    )


def split_off(directory: Path, recipe: Recipe, origin: Origin, numbers: Sequence[int], *, flag: str) -> Portion:
    """Load a data set, and write the shards of some clients, with the bytes that a split for all gives them.

    Whatever else lies in the directory stays. The note then says nothing, unless it is of the same recipe.

    Parameters
    ----------
    directory : Path
        Made when it is missing.
    recipe : Recipe
        Of the whole split.
    origin : Origin
    numbers : sequence of int
        Of the clients, from 0.
    flag : str
        By which the user chose the directory.

    Raises
    ------
    StartupError
        As for `split_into`.
    """
    _require_place(directory, flag)
    train = recipe.dataset.load(origin).train
    parts = split(train.labels, recipe.clients, recipe.seed, recipe.partition)
    paths = {number: client_shard(directory, number) for number in numbers}
    with _told_when_unwritable(directory, flag):
        directory.mkdir(parents=True, exist_ok=True)
        with _held_note(directory, flag) as note:
            if note.read() != recipe.to_json():
                note.truncate(0)
            _tidy(directory)
            for number, path in paths.items():
                write_shard(path, train.part(parts[number]))
    kinds = len(recipe.dataset.label_names)
    return Portion(recipe, paths, np.stack([_label_counts(train.labels[parts[number]], kinds) for number in numbers]))


def is_split_so(directory: Path, recipe: Recipe) -> bool:
    """Return whether the shards of a data set that never changes lie in a directory already.

    Raises
    ------
    StartupError
        The directory cannot be read.
    """
    note = directory / _NOTE
    paths = [*(client_shard(directory, number) for number in range(recipe.clients)), held_out_shard(directory)]
    try:
        return (
            recipe.dataset.fixed
            and note.exists()
            and note.read_bytes() == recipe.to_json()
            and all(path.is_file() for path in paths)
        )
    except OSError as error:
        raise StartupError(f"{note} cannot be read ({error.strerror}); remove it") from None


def _require_place(directory: Path, flag: str) -> None:
    """Refuse, before data are fetched for nothing, a directory that cannot be made or written to."""
    # Of a link to nothing, and where nobody may look, these say no; methods of Path say other things, or raise.
    nearest = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    if not os.path.isdir(nearest):
        raise StartupError(f"{nearest} is no folder, wanted one for the shards; choose another {flag}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StartupError(f"nothing can be written to the folder {nearest}; change its mode, or choose another {flag}")


@contextmanager
def _told_when_unwritable(directory: Path, flag: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StartupError(
            f"the shards cannot all be written to {directory} ({error.strerror}); make room, or choose another {flag}"
        ) from None


def _tidy(directory: Path) -> None:
    """Delete what a split that was killed left behind."""
    for path in directory.iterdir():
        if _TORN.fullmatch(path.name):
            path.unlink()


@contextmanager
def _held_note(directory: Path, flag: str) -> Iterator[BinaryIO]:
    """Give this process alone the note, which is empty while shards of two splits may lie there."""
    # Through a link, the file of somebody else would be emptied.
    descriptor = os.open(directory / _NOTE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "r+b") as note:
        try:
            fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise StartupError(
                f"another process writes shards to {directory} now; wait until it is done, or choose another {flag}"
            ) from None
        yield note


def _label_counts(labels: npt.NDArray[np.uint8], kinds: int) -> npt.NDArray[np.int64]:
    return np.bincount(labels, minlength=kinds).astype(np.int64)
