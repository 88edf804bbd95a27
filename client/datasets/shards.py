"""What one client gets of a data set, as a safetensors file.

A shard holds ``x`` [n, ...], whose dtype and shape are those of the data set's layout, and ``y``,
U8 [n]; the same examples give the same bytes on every machine. A directory of shards has
``client-<k>.safetensors`` for each client and ``test.safetensors`` for evaluation.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fedtier.dtypes import Array, TensorSpec
from fedtier.header import encode_header, read_header
from fedtier.problems import NotSafetensors, StartupError
from fedtier.tensors import TensorFile, write_arrays

_CLIENT_NAME: Final = re.compile(r"client-(0|[1-9][0-9]*)\.safetensors")


@dataclass(frozen=True, slots=True)
class Layout:
    """What one example of a data set is.

    Parameters
    ----------
    dtype : str
        Of its values, as safetensors names it.
    shape : tuple of int
        Of its values.
    classes : int
        Labels go from 0 to one less than this; at most 256.
    """

    dtype: str
    shape: tuple[int, ...]
    classes: int


@dataclass(frozen=True, slots=True)
class Shard:
    """Some examples.

    Parameters
    ----------
    inputs : ndarray, shape [n, ...]
        Of the dtype and shape of the data set's layout.
    labels : ndarray of uint8, shape [n]
    """

    inputs: Array
    labels: npt.NDArray[np.uint8]

    def part(self, indices: npt.NDArray[Any]) -> Shard:
        """Return the examples at some indices."""
        return Shard(self.inputs[indices], self.labels[indices])


@dataclass(frozen=True, slots=True)
class Split:
    """A whole data set: examples to train on, and others to test with."""

    train: Shard
    test: Shard


def client_shard(directory: Path, client: int) -> Path:
    """Return where the shard of the client of a number, from 0, lies."""
    return directory / f"client-{client}.safetensors"


def held_out_shard(directory: Path) -> Path:
    """Return where the test examples lie."""
    return directory / "test.safetensors"


def write_shards(directory: Path, train: Shard, parts: Sequence[npt.NDArray[Any]], test: Shard) -> list[Path]:
    """Write one shard per client and the test shard.

    Shards of further clients, left by an earlier split into the same directory, are removed. A file is
    one when it has the name of such a client's shard and starts with the very bytes that `write_shard`
    would write for as many examples; everything else stays.

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
    for path in sorted(directory.iterdir()):
        named = _CLIENT_NAME.fullmatch(path.name)
        if named and int(named[1]) >= len(parts) and _is_written_here(path):
            path.unlink()
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
            write_arrays(file, {"x": shard.inputs, "y": shard.labels})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_shard(path: Path, layout: Layout) -> Shard:
    """Read a shard and check it.

    Parameters
    ----------
    path : Path
    layout : Layout
        Of the data set that it should be of.

    Raises
    ------
    StartupError
        It is missing, or not a shard of that layout; says what is wrong.
    """
    try:
        file = TensorFile(path)
    except FileNotFoundError:
        raise StartupError(
            f"the shard {path} does not exist; make shards with data_splitter.py, or name another file"
        ) from None
    except OSError as error:
        raise StartupError(f"the shard {path} cannot be read: {error}") from None
    except NotSafetensors as problem:
        raise StartupError(f"the shard {path} is {problem.detail}; name another") from None
    specs = {spec.name: spec for spec in file.header.specs}
    count = specs["y"].elements if "y" in specs else 0
    wanted = {"x": TensorSpec("x", layout.dtype, (count, *layout.shape)), "y": TensorSpec("y", "U8", (count,))}
    if specs != wanted or count == 0:
        seen = ", ".join(f"{spec.name} {spec.dtype} {list(spec.shape)}" for spec in file.header.specs)
        row = ", ".join(["n", *map(str, layout.shape)])
        raise StartupError(
            f"the shard {path} holds {seen or 'nothing'}, wanted x {layout.dtype} [{row}] and y U8 [n] "
            "with n at least 1; name a shard of the task's data set"
        )
    shard = Shard(np.array(file.array("x")), np.array(file.array("y")))
    if (largest := int(shard.labels.max())) >= layout.classes:
        raise StartupError(
            f"the shard {path} has the label {largest}, wanted 0 to {layout.classes - 1}; "
            "name a shard of the task's data set"
        )
    _require_finite(shard.inputs, path)
    return shard


def _require_finite(inputs: Array, path: Path) -> None:
    """Refuse values that would make every weight of a model NaN, while they can still be found."""
    if not np.issubdtype(inputs.dtype, np.floating) or (finite := np.isfinite(inputs)).all():
        return
    example, *place = (int(index) for index in np.unravel_index(int(finite.argmin()), inputs.shape))
    raise StartupError(
        f"the shard {path} has {inputs[(example, *place)]} in example {example}, value {place}, wanted finite numbers; "
        "mend the data, and make the shard anew"
    )


def _is_written_here(path: Path) -> bool:
    """Tell whether `write_shard` made a file: its header is the one that this would give those tensors."""
    # What a link points to may lie anywhere.
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            specs = read_header(file).specs
            if [spec.name for spec in specs] != ["x", "y"]:
                return False
            inputs, labels = specs
            header = encode_header(specs, {})
            file.seek(0)
            return labels.dtype == "U8" and labels.shape == inputs.shape[:1] and file.read(len(header)) == header
    except (NotSafetensors, OSError):
        return False
