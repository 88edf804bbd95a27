"""Whether what a federation has published is of the task that it is to train."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fedtier.bucket_errors import StoreCorrupt, StoreUnavailable
from fedtier.dtypes import TensorSpec
from fedtier.problems import Problem, StartupError
from fedtier.store import RoundStore
from fedtier.tensors import TensorFile


def require_published_of(task: str, model: Path, rounds: RoundStore) -> None:
    """Check that the newest published model has the tensors of a task's, where anything is published.

    Clients would otherwise find out, on hosts where nobody looks.

    Parameters
    ----------
    task : str
        For the sentence.
    model : Path
        A model of the task.
    rounds : RoundStore

    Raises
    ------
    StartupError
        It is one of another task, or S3 cannot be used.
    """
    try:
        published = next(rounds.history(), None)
        if published is None:
            return
        with tempfile.TemporaryDirectory(prefix="fedtier-") as folder:
            path = Path(folder) / "newest.safetensors"
            rounds.download_model(published.round, published.manifest.model.sha256, path)
            there = _tensors(path)
        wanted = _tensors(model)
    except (StoreUnavailable, StoreCorrupt) as error:
        raise StartupError(str(error)) from None
    except Problem as problem:
        raise StartupError(f"the newest published model cannot be read: {problem.detail}") from None
    except OSError as error:
        raise StartupError(f"the newest published model cannot be written to disk ({error.strerror})") from None
    if there != wanted:
        raise StartupError(
            f"round {published.round} in s3://{rounds.bucket}/{rounds.keys.prefix} is no model of the task {task}: "
            f"{_difference(there, wanted)}; train the task that was begun there, or give this one another bucket_key"
        )


def _tensors(path: Path) -> dict[str, TensorSpec]:
    return {spec.name: spec for spec in TensorFile(path).header.specs}


def _difference(there: dict[str, TensorSpec], wanted: dict[str, TensorSpec]) -> str:
    """Return the first tensor in which they differ: ``dense.bias is F32 [10], wanted F32 [2]``."""
    name = next(name for name in sorted({*there, *wanted}) if there.get(name) != wanted.get(name))
    return f"{name} is {_in_words(there.get(name))}, wanted {_in_words(wanted.get(name))}"


def _in_words(spec: TensorSpec | None) -> str:
    return "not there" if spec is None else f"{spec.dtype} {list(spec.shape)}"
