"""Names, dtypes and shapes of tensors, and how their values are stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

STORAGE: Final[Mapping[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # NumPy has no bfloat16: its bit pattern
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""safetensors' dtype names and how each is stored."""

FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16"})
HALVES: Final = ("BF16", "F16")
"""The floating-point dtypes of half a float32's size."""
_PIECE: Final = 65_536


class Values(Protocol):
    """The stored values of a tensor that are read a window at a time: an array, or a tensor of a file.

    Every NumPy array is one; `fedtier.tensors` has those that stay in their file, so that a
    model of any size takes no more memory than one window.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """As the array's."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the windows."""
        ...

    @property
    def size(self) -> int:
        """How many values there are."""
        ...

    def ravel(self) -> Values:
        """Return the same values in one dimension."""
        ...

    def __getitem__(self, window: slice, /) -> Array:
        """Return ``[start:stop]`` of the values in one dimension; valid until the next is read."""
        ...


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of one tensor.

    Parameters
    ----------
    name : str
    dtype : str
        safetensors' name, a key of `STORAGE`.
    shape : tuple of int
        Empty for a scalar.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many values the tensor has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes its data takes."""
        return self.elements * STORAGE[self.dtype].itemsize


def spec_of(name: str, array: Array) -> TensorSpec:
    """Return the spec under which a NumPy array is stored as it is."""
    for dtype, storage in STORAGE.items():
        if storage == array.dtype and dtype != "BF16":
            return TensorSpec(name, dtype, tuple(array.shape))
    raise ValueError(f"tensor {name!r} has dtype {array.dtype}, which safetensors cannot hold")


def as_stored(array: Array, spec: TensorSpec) -> Array:
    """Return `array` in the storage dtype of `spec`, rounding to BF16 where that is asked for."""
    if tuple(array.shape) != spec.shape:
        raise ValueError(f"tensor {spec.name!r} has shape {list(array.shape)}, wanted {list(spec.shape)}")
    if spec.dtype == "BF16" and array.dtype.kind == "f":
        return round_to_bfloat16(array)
    if array.dtype != STORAGE[spec.dtype]:
        raise ValueError(f"tensor {spec.name!r} has dtype {array.dtype}, wanted {spec.dtype}")
    return array


def widen(array: Array, dtype: str) -> Array:
    """Return a stored array as numbers: BF16 bit patterns as float32, all others as they are."""
    if dtype != "BF16":
        return array
    single = np.empty(array.shape, np.float32)
    widen_into(single, array, dtype)
    return single


def widen_into(single: npt.NDArray[np.float32], array: Array, dtype: str) -> None:
    """Write the numbers of a stored F16 or BF16 array into a float32 array; each is a float32, so none is rounded."""
    if dtype == "BF16":
        bits = single.view(np.uint32)
        np.copyto(bits, array)
        np.left_shift(bits, 16, out=bits)
    else:
        np.copyto(single, array)


class Widened:
    """F16 or BF16 values that are read as the float32 values that they are.

    Parameters
    ----------
    values : Values
        Stored ones.
    dtype : {"F16", "BF16"}
    window : ndarray of float32, shape (n,)
        Written over with each window that is read; several may share it. Windows have at most n values.
    """

    def __init__(self, values: Values, dtype: str, window: npt.NDArray[np.float32]) -> None:
        self._values = values.ravel()
        self._dtype = dtype
        self._window = window
        self.shape: tuple[int, ...] = values.shape
        self.size = values.size
        self.dtype: np.dtype[Any] = window.dtype

    def ravel(self) -> Values:
        """Return the same values in one dimension."""
        return self

    def __getitem__(self, window: slice, /) -> Array:
        """Return ``[start:stop]`` of the values in one dimension; valid until the next is read."""
        stored = self._values[window]
        single = self._window[: stored.size]
        widen_into(single, stored, self._dtype)
        return single


def round_to(array: Array, dtype: str) -> Array:
    """Return a floating-point array in the storage dtype of F16 or BF16, half to even; too large a number is infinite.

    Rounded in pieces: of an array of any size, only the result takes memory.
    """
    rounded = np.empty(array.shape, STORAGE[dtype])
    target, flat = rounded.reshape(-1), array.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        if dtype == "BF16":
            target[start : start + _PIECE] = round_to_bfloat16(piece)
        else:
            with np.errstate(over="ignore"):
                target[start : start + _PIECE] = piece
    return rounded


def round_to_bfloat16(array: Array) -> npt.NDArray[np.uint16]:
    """Return the BF16 bit patterns of a floating-point array, through float32, half to even; NaN stays NaN."""
    single = np.ascontiguousarray(array, dtype=np.float32)
    bits = single.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(single), np.uint32(0x7FC0), rounded).astype(np.uint16)
