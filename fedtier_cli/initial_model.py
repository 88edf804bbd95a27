"""The model that a federation starts from: made by a task or taken from a file, and checked."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from client.datasets.catalogue import dataset_named
from client.datasets.shards import Shard, write_shard
from client.task import BUILT_IN, Task, load_task
from fedtier.dtypes import STORAGE
from fedtier.problems import StartupError
from fedtier.rounds import DEFAULT_WEIGHT_LIMIT
from fedtier.tensors import write_arrays
from fedtier_cli.workplace import absolute_task
from master_aggregator.planning import require_summable

FILE_NAME: Final = "initial.safetensors"
_SUFFIX: Final = ".safetensors"


def usual_task(dataset: str) -> str:
    """Return the task that learns from a data set where nobody names one: the first that comes with the client."""
    return next(name for name, task in BUILT_IN.items() if task.dataset == dataset)


def require_source(source: str, dataset: str) -> None:
    """Check, before anything is split, what can be checked of where an initial model is to come from.

    Parameters
    ----------
    source : str
        A safetensors file, or a task as `client.task.load_task` takes it.
    dataset : str
        That the model is for.

    Raises
    ------
    StartupError
        The file cannot be read or summed, the task is for other data, or it is neither.
    """
    if source in BUILT_IN:
        if (wanted := BUILT_IN[source].dataset) != dataset:
            raise StartupError(
                f"the task {source} learns from the data set {wanted}, not from {dataset}; choose --dataset {wanted}, "
                "or another --init-model"
            )
    elif source.endswith(_SUFFIX):
        require_summable(Path(source), DEFAULT_WEIGHT_LIMIT)
    elif all(source.rpartition(":")[::2]):
        absolute_task(source)
    else:
        raise StartupError(
            f"--init-model {source!r} is neither a {_SUFFIX} file nor a task ({', '.join(BUILT_IN)}, "
            "package.module:Name or path/to/file.py:Name); of a PyTorch checkpoint, fedtier convert makes such a file"
        )


def is_made_without_data(source: str) -> bool:
    """Return whether an initial model is the same whatever data there are: a file, or drawn from the seed alone."""
    return source in BUILT_IN or source.endswith(_SUFFIX)


def write_initial_model(target: Path, source: str, *, data: Path | None, seed: int) -> None:
    """Write an initial model that a federation can start from; it appears whole or not at all.

    Parameters
    ----------
    target : Path
        Its folder is made when it is missing.
    source : str
        As for `require_source`.
    data : Path or None
        What a task is handed; None only where `is_made_without_data`.
    seed : int
        What a task draws the model from.

    Raises
    ------
    StartupError
        There is no such model, it cannot be summed, or it cannot be written.
    """
    temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex}{_SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            if source.endswith(_SUFFIX):
                _copy(Path(source), file)
            else:
                _store(_made(source, data), source, seed, file)
        _require_summable(temporary, source)
        os.replace(temporary, target)
    except OSError as error:
        raise StartupError(
            f"the initial model cannot be written to {target} ({error.strerror}); make room there"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _copy(source: Path, file: BinaryIO) -> None:
    with source.open("rb") as model:
        shutil.copyfileobj(model, file)


def _made(source: str, data: Path | None) -> Task:
    if data is not None:
        return load_task(source, data)
    layout = dataset_named(BUILT_IN[source].dataset).layout
    # A built-in task wants a shard, of which its untrained model takes nothing.
    blank = Shard(np.zeros((1, *layout.shape), STORAGE[layout.dtype]), np.zeros(1, np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "blank.safetensors"
        write_shard(shard, blank)
        return load_task(source, shard)


def _store(made: Task, task: str, seed: int, file: BinaryIO) -> None:
    try:
        arrays = made.initial_model(seed)
    except Exception as error:
        # What somebody's code says may have several lines.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise StartupError(
            f"the task {task} cannot make an initial model: {reason}; check its initial_model"
        ) from error
    try:
        write_arrays(file, arrays)
    except (ValueError, TypeError, AttributeError) as error:
        raise StartupError(f"the initial model of the task {task} cannot be stored: {error}") from None


def _require_summable(model: Path, source: str) -> None:
    try:
        require_summable(model, DEFAULT_WEIGHT_LIMIT)
    except StartupError as error:
        # The file has a name that nobody gave it, and is about to go.
        raise StartupError(str(error).replace(f"the model {model}", f"the initial model of {source}")) from None
