"""What the mean becomes: the next round's model. FedAvg takes the mean itself (McMahan et al. 2017).

Later strategies are functions of the mean and of the model before; see
`docs/architecture.md` for the operations they may use so that bytes stay the same everywhere.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from fedtier.dtypes import FLOATS, Array
from fedtier.exact import ExactSum
from fedtier.header import encode_header
from fedtier.kinds import CHUNK, TensorPlan, magnitude_of
from fedtier.rounds import ModelDigest
from fedtier.tensors import TensorFile

_AHEAD: Final = 4
"""Chunks of the mean that may wait to be written."""


@dataclass(frozen=True, slots=True)
class WrittenModel:
    """A model as it was written.

    Parameters
    ----------
    digest : ModelDigest
    magnitudes : tuple of float
        `fedtier.kinds.magnitude_of` every tensor, in the order of the file; 0 for integers. With them the next
        round is planned without reading the model again.
    """

    digest: ModelDigest
    magnitudes: tuple[float, ...]


def write_mean(total: ExactSum, base: Path, file: BinaryIO) -> WrittenModel:
    """Write the weighted mean as the round's model, chunk by chunk; one is hashed and written while the next is made.

    Parameters
    ----------
    total : ExactSum
        Of all contributors.
    base : Path
        The model that opened the round; kept tensors and the file's metadata come from it.
    file : BinaryIO

    Returns
    -------
    WrittenModel

    Raises
    ------
    OSError
    """
    opening = TensorFile(base)
    magnitudes = []
    with _HashedWriter(file) as out:
        out.write(encode_header((tensor.spec for tensor in total.plan.tensors), opening.header.metadata))
        for tensor in total.plan.tensors:
            magnitude = 0.0
            for chunk in _chunks(total, opening, tensor):
                if tensor.dtype in FLOATS:
                    magnitude = _larger(magnitude, magnitude_of(chunk, tensor.dtype))
                out.write(chunk.data)
            magnitudes.append(magnitude)
    return WrittenModel(out.digest(), tuple(magnitudes))


def _chunks(total: ExactSum, opening: TensorFile, tensor: TensorPlan) -> Iterator[Array]:
    if tensor.kind != "kept":
        yield from total.mean(tensor)
        return
    flat = opening.values(tensor.name)
    for start in range(0, flat.size, CHUNK):
        yield flat[start : start + CHUNK].copy()  # it is written while the next is read


def _larger(one: float, other: float) -> float:
    return math.nan if math.isnan(one) else max(one, other) if not math.isnan(other) else other


class _HashedWriter:
    """Hashes and writes on a thread of its own, in order, at most `_AHEAD` pieces behind; both leave the GIL."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._pool = ThreadPoolExecutor(1, "model-writer")
        self._behind: deque[Future[None]] = deque()

    def __enter__(self) -> _HashedWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            self._settle(0)

    def write(self, piece: bytes | memoryview) -> None:
        """Write bytes that do not change from now on; raises `OSError`, maybe of a piece before."""
        self._settle(_AHEAD)
        self._behind.append(self._pool.submit(self._write, piece))

    def digest(self) -> ModelDigest:
        """Return what was written, after the `with` block."""
        return ModelDigest(sha256=self._sha256.hexdigest(), bytes=self._size)

    def _settle(self, left: int) -> None:
        while len(self._behind) > left:
            self._behind.popleft().result()

    def _write(self, piece: bytes | memoryview) -> None:
        self._sha256.update(piece)
        self._size += self._file.write(piece)
