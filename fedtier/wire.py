"""The wire form of an exact sum: each tensor in the cheapest exact width.

``<name>`` as I64, or ``<name>.lo`` U32 with ``<name>.hi`` I8, I16 or I32; wide
tensors have their eight limbs in front; kept ones are absent.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fedtier.dtypes import STORAGE, Array, TensorSpec, Values
from fedtier.exact import BoundedSum, SumView
from fedtier.kinds import CHUNK, SumPlan, TensorPlan
from fedtier.limbs import Int64s
from fedtier.problems import SchemaMismatch


class WireSum:
    """A partial as it travels: per tensor one int64 array, or a low and a high part.

    Parameters
    ----------
    plan : SumPlan
    arrays : Mapping of str to Values
        The tensors of the partial's file.
    total_weight, contributors : int
    window : ndarray of int64, shape (CHUNK,), optional
        Written over with what is read; several sums may share one.

    Raises
    ------
    SchemaMismatch
        A tensor is missing, or has another dtype or shape.
    """

    def __init__(
        self,
        plan: SumPlan,
        arrays: Mapping[str, Values],
        *,
        total_weight: int,
        contributors: int,
        window: Int64s | None = None,
    ) -> None:
        self.plan = plan
        self.total_weight = total_weight
        self.contributors = contributors
        self._whole: dict[str, Values] = {}
        self._split: dict[str, tuple[Values, Values]] = {}
        self._joined = np.empty(CHUNK, np.int64) if window is None else window
        unused = set(arrays)
        for tensor in plan.summed:
            unused -= self._take(tensor, arrays)
        if unused:
            raise SchemaMismatch(f"the partial has a tensor {min(unused)!r}, which the round does not sum")

    def _take(self, tensor: TensorPlan, arrays: Mapping[str, Values]) -> set[str]:
        low, high = split_names(tensor)
        if tensor.name in arrays:
            _require(arrays, tensor.name, tensor.sum_shape, ("int64",))
            self._whole[tensor.name] = arrays[tensor.name].ravel()
            return {tensor.name}
        if not can_split(tensor, self.plan) or low not in arrays or high not in arrays:
            raise SchemaMismatch(f"the partial has no sum of tensor {tensor.name!r}", tensor=tensor.name)
        _require(arrays, low, tensor.sum_shape, ("uint32",))
        _require(arrays, high, tensor.sum_shape, ("int8", "int16", "int32"))
        self._split[tensor.name] = arrays[low].ravel(), arrays[high].ravel()
        return {low, high}

    def read(self, tensor: TensorPlan, start: int, stop: int) -> Int64s:
        """Return elements ``[start, stop)`` of a tensor's flattened sum; at most `CHUNK` of them."""
        if tensor.name in self._whole:
            return self._whole[tensor.name][start:stop]
        low, high = self._split[tensor.name]
        joined = self._joined[: stop - start]
        np.copyto(joined, high[start:stop])
        np.left_shift(joined, 32, out=joined)
        np.bitwise_or(joined, low[start:stop], out=joined, casting="unsafe")
        return joined


@dataclass(frozen=True, slots=True)
class WireTensor:
    """A summed tensor as it is coded.

    Parameters
    ----------
    source : TensorPlan
    parts : tuple of TensorSpec
        The tensors of the file that hold it: the whole, or low and high part.
    """

    source: TensorPlan
    parts: tuple[TensorSpec, ...]


def wire_layout(total: BoundedSum) -> tuple[WireTensor, ...]:
    """Choose the cheapest coding that is exact for as much as a sum may hold."""
    return tuple(_layout_of(tensor, total) for tensor in total.plan.summed)


def _layout_of(tensor: TensorPlan, total: BoundedSum) -> WireTensor:
    dtype = _high_dtype(total.bound(tensor)) if can_split(tensor, total.plan) else None
    if dtype is None:
        return WireTensor(tensor, (TensorSpec(tensor.name, "I64", tensor.sum_shape),))
    low, high = split_names(tensor)
    return WireTensor(tensor, (TensorSpec(low, "U32", tensor.sum_shape), TensorSpec(high, dtype, tensor.sum_shape)))


def wire_specs(layout: Iterable[WireTensor]) -> list[TensorSpec]:
    """Return the tensors of a file in their order: widest items first, so that all are aligned."""
    return sorted((spec for wire in layout for spec in wire.parts), key=lambda spec: -STORAGE[spec.dtype].itemsize)


def wire_windows(view: SumView, wire: WireTensor) -> Iterator[tuple[Array, ...]]:
    """Yield the data of a tensor's parts, a window of each at a time; they are valid until the next.

    Raises
    ------
    OSError
        A sum is larger than it was said to be, so what it is read from has changed.
    Exception
        Whatever the view's `read` raises.
    """
    length = wire.source.sum_length
    coded = [np.empty(min(CHUNK, length), STORAGE[spec.dtype]) for spec in wire.parts]
    for start in range(0, length, CHUNK):
        values = view.read(wire.source, start, min(start + CHUNK, length))
        windows = tuple(part[: values.size] for part in coded)
        np.copyto(windows[0], values, casting="unsafe")  # takes the low half modulo 2**32
        if len(windows) > 1:
            _require_fit(values, wire)
            np.right_shift(values, 32, out=windows[1], casting="unsafe")
        yield windows


def _require_fit(values: Int64s, wire: WireTensor) -> None:
    info = np.iinfo(STORAGE[wire.parts[1].dtype])
    if int(values.min()) >> 32 < info.min or int(values.max()) >> 32 > info.max:
        raise OSError(errno.EIO, f"the sum of {wire.source.name!r} is larger than its checked members can add up to")


def split_names(tensor: TensorPlan) -> tuple[str, str]:
    """Return the names of a split tensor's low and high part."""
    return f"{tensor.name}.lo", f"{tensor.name}.hi"


def can_split(tensor: TensorPlan, plan: SumPlan) -> bool:
    """Return whether a tensor may be split: not where another tensor bears a name of its parts."""
    return plan.names.isdisjoint(split_names(tensor))


def _high_dtype(largest: float) -> str | None:
    """Return I8 or I16 when the upper half of every sum fits, else None: I64 is no larger then."""
    return next((dtype for dtype in ("I8", "I16") if largest < 2.0 ** (31 + 8 * STORAGE[dtype].itemsize)), None)


def _require(arrays: Mapping[str, Values], name: str, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> None:
    array = arrays[name]
    if array.shape != shape or array.dtype.name not in dtypes:
        raise SchemaMismatch(
            f"the partial's tensor {name!r} is {array.dtype.name} {list(array.shape)}, "
            f"expected {' or '.join(dtypes)} {list(shape)}",
            tensor=name,
        )
