"""Which data each client of a local run gets, and what the models are tested on."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.datasets.known_files import Progress
from client.datasets.mnist import load_mnist
from client.datasets.partition import SCHEMES
from client.datasets.shards import client_shard, held_out_shard, write_shards
from client.datasets.sources import Source
from client.task import BUILT_IN
from fedtier.problems import StartupError

_MARKER: Final = "made-from.json"
_SCHEME: Final = "iid"


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


@dataclass(frozen=True, slots=True)
class MnistOrigin:
    """Where MNIST comes from.

    Parameters
    ----------
    cache : Path
    data_dir : Path or None
        Then nothing else is tried.
    sources : sequence of Source
    progress : callable, optional
    """

    cache: Path
    data_dir: Path | None
    sources: Sequence[Source]
    progress: Progress | None = None


def prepare_data(
    task: str, *, clients: int, seed: int, data_dir: Path | None, shards: Path, mnist: MnistOrigin
) -> ClientData:
    """Find, or make, the data of a run.

    Parameters
    ----------
    task : str
        A built-in task gets shards of MNIST; any other one gets what lies in `data_dir`.
    clients : int
    seed : int
        Of the split.
    data_dir : Path or None
    shards : Path
        Where shards are made; those of the run before stay when nothing changed.
    mnist : MnistOrigin

    Raises
    ------
    StartupError
    """
    if data_dir is not None and not data_dir.is_dir():
        raise StartupError(f"--data-dir {data_dir} is no folder; name the folder that holds the data")
    if task in BUILT_IN:
        return _mnist_shards(shards, clients, seed, mnist)
    if data_dir is None:
        raise StartupError(f"the task {task} needs its data; name the folder that holds it with --data-dir")
    return ClientData(_own_parts(data_dir, clients), test_data(data_dir))


def test_data(data_dir: Path) -> Path:
    """Return what a task of the user's own is tested on: ``test`` or ``test.*`` in its data, else all of it."""
    return _only(data_dir, r"test(\..*)?") or data_dir


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


def _mnist_shards(directory: Path, clients: int, seed: int, origin: MnistOrigin) -> ClientData:
    data = ClientData(tuple(client_shard(directory, number) for number in range(clients)), held_out_shard(directory))
    made_from = json.dumps({"scheme": _SCHEME, "clients": clients, "seed": seed})
    marker = directory / _MARKER
    try:
        if marker.exists() and marker.read_text(encoding="utf-8") == made_from:
            return data
        mnist = load_mnist(
            cache=origin.cache, data_dir=origin.data_dir, sources=origin.sources, progress=origin.progress
        )
        marker.unlink(missing_ok=True)
        write_shards(directory, mnist.train, SCHEMES[_SCHEME](mnist.train.labels, clients, seed), mnist.test)
        marker.write_text(made_from, encoding="utf-8")
    except OSError as error:
        raise StartupError(f"the shards cannot be written to {directory}: {error.strerror}") from None
    return data
