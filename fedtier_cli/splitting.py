"""Splits a data set into files, one per client and one to test with, and notes beside them what they are made from.

The note is what lets a local run keep the shards of the run before.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from client.datasets.catalogue import Dataset, Origin
from client.datasets.partition import Partition, split
from client.datasets.shards import client_shard, held_out_shard, write_shards
from fedtier.problems import StartupError

_MARKER: Final = "made-from.json"


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
        The data cannot be had or not be split so, or the shards cannot be written.
    """
    _require_place(directory, flag)
    data = recipe.dataset.load(origin)
    parts = split(data.train.labels, recipe.clients, recipe.seed, recipe.partition)
    marker = directory / _MARKER
    try:
        # While shards of two splits may lie there, none is noted.
        marker.unlink(missing_ok=True)
        paths = write_shards(directory, data.train, parts, data.test)
        marker.write_bytes(recipe.to_json())
    except OSError as error:
        raise StartupError(
            f"the shards cannot all be written to {directory} ({error.strerror}); make room, or choose another {flag}"
        ) from None
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


def is_split_so(directory: Path, recipe: Recipe) -> bool:
    """Return whether the shards of a data set that never changes lie in a directory already.

    Raises
    ------
    StartupError
        The directory cannot be read.
    """
    marker = directory / _MARKER
    paths = [*(client_shard(directory, number) for number in range(recipe.clients)), held_out_shard(directory)]
    try:
        return (
            recipe.dataset.fixed
            and marker.exists()
            and marker.read_bytes() == recipe.to_json()
            and all(path.is_file() for path in paths)
        )
    except OSError as error:
        raise StartupError(f"{marker} cannot be read ({error.strerror}); remove it") from None


def _require_place(directory: Path, flag: str) -> None:
    """Refuse, before data are fetched for nothing, a directory that cannot be made."""
    nearest = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise StartupError(f"{nearest} is a file, wanted a folder for the shards; choose another {flag}")


def _label_counts(labels: npt.NDArray[np.uint8], kinds: int) -> npt.NDArray[np.int64]:
    return np.bincount(labels, minlength=kinds).astype(np.int64)
