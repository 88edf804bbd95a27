"""Which data each client of a local run gets, and what the models are tested on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.datasets.catalogue import Origin, dataset_named
from client.datasets.partition import Partition
from client.datasets.shards import client_shard, held_out_shard, write_shard
from client.task import BUILT_IN
from fedtier.problems import StartupError
from fedtier_cli.splitting import Recipe, is_split_so, split_into

_FLAG: Final = "--run-dir"


@dataclass(frozen=True, slots=True)
class ClientData:
    """Paths of data.

    Parameters
    ----------
    clients : tuple of Path
        One per client, in order.
    test : Path
    """

    clients: tuple[Path, ...]
    test: Path


def prepare_data(
    task: str, *, clients: int, seed: int, partition: Partition, origin: Origin, shards: Path
) -> ClientData:
    """Find, or make, the data of a run.

    Parameters
    ----------
    task : str
        A built-in task gets shards of its data set; any other one gets what lies in the origin's `data_dir`.
    clients : int
    seed : int
        Of the split.
    partition : Partition
        Of a built-in task's data set.
    origin : Origin
    shards : Path
        Where shards are made; those of the run before stay when nothing changed.

    Raises
    ------
    StartupError
    """
    data_dir = origin.data_dir
    if data_dir is not None and not data_dir.is_dir():
        raise StartupError(f"--data-dir {data_dir} is no folder; name the folder that holds the data")
    if task in BUILT_IN:
        recipe = Recipe(dataset_named(BUILT_IN[task].dataset), clients, seed, partition)
        # With rows it is up to the data set to say whether it takes them.
        if origin.rows or not is_split_so(shards, recipe):
            split_into(shards, recipe, origin, flag=_FLAG)
        return ClientData(tuple(client_shard(shards, number) for number in range(clients)), held_out_shard(shards))
    if partition != Partition() or origin.rows:
        raise StartupError(
            f"the task {task} brings its own data, which are not split here; leave out --partition, --alpha, "
            "--n-label, --n-data and --rows, and put one part per client into --data-dir"
        )
    if data_dir is None:
        raise StartupError(f"the task {task} needs its data; name the folder that holds it with --data-dir")
    return ClientData(_own_parts(data_dir, clients), test_data(data_dir))


def test_data(data_dir: Path) -> Path:
    """Return what a task of the user's own is tested on: ``test`` or ``test.*`` in its data, else all of it."""
    return _only(data_dir, r"test(\..*)?") or data_dir


def write_test_shard(dataset: str, origin: Origin, path: Path) -> None:
    """Write the examples of a data set that models are tested with.

    Parameters
    ----------
    dataset : str
        Of `client.datasets.catalogue`.
    origin : Origin
    path : Path
        In a directory that exists.

    Raises
    ------
    StartupError
        There is no such data set, its data cannot be had, or the file cannot be written.
    """
    test = dataset_named(dataset).load(origin).test
    try:
        write_shard(path, test)
    except OSError as error:
        raise StartupError(
            f"the test examples cannot be written to {path} ({error.strerror}); make room there"
        ) from None


def _own_parts(data_dir: Path, clients: int) -> tuple[Path, ...]:
    parts = [_only(data_dir, rf"client-{number}(\D.*)?") for number in range(clients)]
    found = [part for part in parts if part is not None]
    if not found:
        return (data_dir,) * clients
    if len(found) < clients:
        raise StartupError(
            f"{data_dir} has data for some clients but not for client-{parts.index(None)}; "
            "add it, or choose fewer --clients"
        )
    return tuple(found)


def _only(data_dir: Path, pattern: str) -> Path | None:
    found = sorted(path for path in data_dir.iterdir() if re.fullmatch(pattern, path.name))
    if len(found) > 1:
        raise StartupError(f"{data_dir} has both {found[0].name} and {found[1].name}; leave one of them")
    return found[0] if found else None
