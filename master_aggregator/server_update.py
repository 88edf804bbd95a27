"""What the mean becomes: the next round's model. FedAvg takes the mean itself (McMahan et al. 2017).

Later strategies are functions of the mean and of the model before; see
`docs/architecture.md` for the operations they may use so that bytes stay the same everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fedtier.dtypes import Array
from fedtier.exact import ExactSum
from fedtier.header import encode_header
from fedtier.kinds import CHUNK, TensorPlan
from fedtier.rounds import ModelDigest
from fedtier.tensors import TensorFile


def write_mean(total: ExactSum, base: Path, file: BinaryIO) -> ModelDigest:
    """Write the weighted mean as the round's model, chunk by chunk.

    Parameters
    ----------
    total : ExactSum
        Of all contributors.
    base : Path
        The model that opened the round; kept tensors and the file's metadata come from it.
    file : BinaryIO

    Returns
    -------
    ModelDigest
        Of the bytes written.

    Raises
    ------
    OSError
    """
    digest, size = hashlib.sha256(), 0
    opening = TensorFile(base)
    header = encode_header((tensor.spec for tensor in total.plan.tensors), opening.header.metadata)
    digest.update(header)
    size += file.write(header)
    for tensor in total.plan.tensors:
        for chunk in _chunks(total, opening, tensor):
            digest.update(chunk.data)
            size += file.write(chunk.data)
    return ModelDigest(sha256=digest.hexdigest(), bytes=size)


def _chunks(total: ExactSum, opening: TensorFile, tensor: TensorPlan) -> Iterator[Array]:
    if tensor.kind != "kept":
        yield from total.mean(tensor)
        return
    flat = opening.values(tensor.name)
    for start in range(0, flat.size, CHUNK):
        yield flat[start : start + CHUNK].copy()  # the next window is read into the same memory
