"""The model that a federation starts from: made by a task or taken from a file, checked, and published as round 0."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import BinaryIO, Final

from client.task import BUILT_IN, load_task
from fedtier.bucket_errors import StoreCorrupt, StoreUnavailable
from fedtier.problems import StartupError
from fedtier.rounds import DEFAULT_WEIGHT_LIMIT, Head
from fedtier.store import RoundStore
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


def write_initial_model(target: Path, source: str, *, data: Path, seed: int) -> None:
    """Write an initial model that a federation can start from; it appears whole or not at all.

    Parameters
    ----------
    target : Path
    source : str
        As for `require_source`.
    data : Path
        What a task is handed.
    seed : int
        What a task draws the model from.

    Raises
    ------
    StartupError
        There is no such model, it cannot be summed, or it cannot be written.
    """
    temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex}{_SUFFIX}")
    try:
        with temporary.open("xb") as file:
            if source.endswith(_SUFFIX):
                _copy(Path(source), file)
            else:
                _store(source, data, seed, file)
        _require_summable(temporary, source)
        os.replace(temporary, target)
    except OSError as error:
        raise StartupError(
            f"the initial model cannot be written to {target} ({error.strerror}); make room there"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def publish_initial_model(store: RoundStore, model: Path) -> Head:
    """Make sure that a model is round 0, and return the head as it is then.

    Raises
    ------
    StartupError
        Round 0 is another model, or S3 cannot be used.
    """
    try:
        return store.publish_initial(model).head
    except (StoreUnavailable, StoreCorrupt) as error:
        raise StartupError(str(error)) from None


def _copy(source: Path, file: BinaryIO) -> None:
    with source.open("rb") as model:
        shutil.copyfileobj(model, file)


def _store(task: str, data: Path, seed: int, file: BinaryIO) -> None:
    made = load_task(task, data)
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
