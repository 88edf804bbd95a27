"""Which task tests published models, and on what: as the flags say, else as the local run had it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.datasets.catalogue import Origin
from client.datasets.mnist import public_sources
from client.task import BUILT_IN
from fedtier.problems import StartupError
from fedtier_cli.client_data import test_data, write_test_shard
from fedtier_cli.rundir import Federation
from fedtier_cli.workplace import home

_DEFAULT_TASK: Final = "mnist_cnn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What models are to be tested on, as far as the flags say.

    Parameters
    ----------
    task : str or None
    data : Path or None
        What the task is handed.
    data_dir : Path or None
        Folder of a data set.
    rows : tuple of str
        Files or URLs of the tabular data set.
    """

    task: str | None
    data: Path | None
    data_dir: Path | None
    rows: tuple[str, ...]

    @property
    def names_data(self) -> bool:
        """Whether any data are named."""
        return self.data is not None or self.data_dir is not None or bool(self.rows)


@contextmanager
def task_and_data(
    wanted: Wanted, federation: Federation | None, environment: Mapping[str, str]
) -> Iterator[tuple[str, Path]]:
    """Give a task and the path of what it tests models on; what is made for that goes with the block.

    Parameters
    ----------
    wanted : Wanted
    federation : Federation or None
        Of a local run, which knows what the flags leave out.
    environment : Mapping of str to str

    Raises
    ------
    StartupError
        There are no such data, or too few things are named.
    """
    if federation is not None and not wanted.names_data:
        yield wanted.task or federation.task, Path(federation.test_data)
        return
    task = wanted.task or (_DEFAULT_TASK if federation is None else federation.task)
    if wanted.data is not None:
        if wanted.data_dir is not None or wanted.rows:
            raise StartupError("--data is all the test data there are; leave --data-dir and --rows out")
        yield task, wanted.data
    elif task in BUILT_IN:
        with tempfile.TemporaryDirectory(prefix="fedtier-") as folder:
            shard = Path(folder) / "test.safetensors"
            write_test_shard(BUILT_IN[task].dataset, _origin(wanted, environment), shard)
            yield task, shard
    else:
        yield task, _own_data(task, wanted)


def _origin(wanted: Wanted, environment: Mapping[str, str]) -> Origin:
    return Origin(
        cache=home(environment) / ".fedtier" / "data",
        data_dir=wanted.data_dir,
        rows=wanted.rows,
        sources=public_sources(environment),
    )


def _own_data(task: str, wanted: Wanted) -> Path:
    if wanted.rows:
        raise StartupError(f"--rows belong to the task tabular_cnn; name what the task {task} is tested on with --data")
    if wanted.data_dir is None:
        raise StartupError(f"the task {task} needs data to be tested on; name it with --data")
    if not wanted.data_dir.is_dir():
        raise StartupError(f"--data-dir {wanted.data_dir} is no folder; name the folder that holds the data")
    return test_data(wanted.data_dir)
