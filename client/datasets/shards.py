"""What one client gets of a data set of small grey images, as a safetensors file.

A shard holds ``x``, U8 [n, 28, 28], and ``y``, U8 [n]; the same examples give the
same bytes on every machine. A directory of shards has ``client-<k>.safetensors`` for
each client and ``test.safetensors`` for evaluation.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fedtier.dtypes import TensorSpec
from fedtier.problems import NotSafetensors, StartupError
from fedtier.tensors import TensorFile, write_arrays

SIDE: Final = 28
CLASSES: Final = 10


@dataclass(frozen=True, slots=True)
class Shard:
    """Some examples.

    Parameters
    ----------
    images : ndarray of uint8, shape [n, 28, 28]
    labels : ndarray of uint8, shape [n]
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]

    def part(self, indices: npt.NDArray[Any]) -> Shard:
        """Return the examples at some indices."""
        return Shard(self.images[indices], self.labels[indices])


def client_shard(directory: Path, client: int) -> Path:
    """Return where the shard of the client of a number, from 0, lies."""
    return directory / f"client-{client}.safetensors"


def held_out_shard(directory: Path) -> Path:
    """Return where the test examples lie."""
    return directory / "test.safetensors"


def write_shards(directory: Path, train: Shard, parts: Sequence[npt.NDArray[Any]], test: Shard) -> list[Path]:
    """Write one shard per client and the test shard.

    Parameters
    ----------
    directory : Path
        Made when it is missing.
    train : Shard
    parts : sequence of ndarray
        Each client's indices into `train`, from `client.datasets.partition`.
    test : Shard

    Returns
    -------
    list of Path
        The clients' shards, in order.

    Raises
    ------
    OSError
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = [client_shard(directory, client) for client in range(len(parts))]
    for path, indices in zip(paths, parts, strict=True):
        write_shard(path, train.part(indices))
    write_shard(held_out_shard(directory), test)
    return paths


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard; it appears whole or not at all.

    Raises
    ------
    OSError
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            write_arrays(file, {"x": shard.images, "y": shard.labels})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_shard(path: Path) -> Shard:
    """Read and check a shard.

    Raises
    ------
    StartupError
        It is missing, or not a shard; says what is wrong.
    """
    try:
        file = TensorFile(path)
    except FileNotFoundError:
        raise StartupError(
            f"the shard {path} does not exist; make shards with ./train.sh, or name another file"
        ) from None
    except OSError as error:
        raise StartupError(f"the shard {path} cannot be read: {error}") from None
    except NotSafetensors as problem:
        raise StartupError(f"the shard {path} is {problem.detail}; name another") from None
    specs = {spec.name: spec for spec in file.header.specs}
    count = specs["y"].elements if "y" in specs else 0
    wanted = {"x": TensorSpec("x", "U8", (count, SIDE, SIDE)), "y": TensorSpec("y", "U8", (count,))}
    if specs != wanted or count == 0:
        seen = ", ".join(f"{spec.name} {spec.dtype} {list(spec.shape)}" for spec in file.header.specs)
        raise StartupError(
            f"the shard {path} holds {seen or 'nothing'}, wanted x U8 [n, 28, 28] and y U8 [n] with n at least 1"
        )
    shard = Shard(np.array(file.array("x")), np.array(file.array("y")))
    if (largest := int(shard.labels.max())) >= CLASSES:
        raise StartupError(f"the shard {path} has the label {largest}, wanted 0 to {CLASSES - 1}")
    return shard
