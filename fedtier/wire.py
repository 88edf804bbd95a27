"""The wire form of an exact sum: each tensor in the cheapest exact width.

``<name>`` as I64, or ``<name>.lo`` U32 with ``<name>.hi`` I8, I16 or I32; wide
tensors have their eight limbs in front; kept ones are absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedtier.dtypes import STORAGE, Array, TensorSpec, Values
from fedtier.exact import ExactSum, Int64s, SumView
from fedtier.kinds import CHUNK, SumPlan, TensorPlan
from fedtier.problems import SchemaMismatch


class WireSum:
    """A partial as it travels: per tensor one int64 array, or a low and a high part.

    Parameters
    ----------
    plan : SumPlan
    arrays : Mapping of str to Values
        The tensors of the partial's file.
    total_weight, contributors : int

    Raises
    ------
    SchemaMismatch
        A tensor is missing, or has another dtype or shape.
    """

    def __init__(self, plan: SumPlan, arrays: Mapping[str, Values], *, total_weight: int, contributors: int) -> None:
        self.plan = plan
        self.total_weight = total_weight
        self.contributors = contributors
        self._whole: dict[str, Values] = {}
        self._split: dict[str, tuple[Values, Values]] = {}
        self._joined = np.empty(CHUNK, np.int64)
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
    """One tensor of a partial's file and the sum it is coded from."""

    spec: TensorSpec
    source: TensorPlan
    part: Literal["whole", "low", "high"]


def wire_layout(view: SumView, plan: SumPlan) -> tuple[WireTensor, ...]:
    """Choose the cheapest exact coding of every sum: widest items first, so that all are aligned."""
    chosen: list[WireTensor] = []
    for tensor in plan.summed:
        dtype = _high_dtype(view, tensor) if can_split(tensor, plan) else None
        if dtype is None:
            chosen.append(WireTensor(TensorSpec(tensor.name, "I64", tensor.sum_shape), tensor, "whole"))
            continue
        low, high = split_names(tensor)
        chosen.append(WireTensor(TensorSpec(low, "U32", tensor.sum_shape), tensor, "low"))
        chosen.append(WireTensor(TensorSpec(high, dtype, tensor.sum_shape), tensor, "high"))
    return tuple(sorted(chosen, key=lambda wire: -STORAGE[wire.spec.dtype].itemsize))


def wire_chunks(view: SumView, wire: WireTensor) -> Iterator[Array]:
    """Yield the data of one tensor of a partial's file; each chunk is valid until the next."""
    length = wire.source.sum_length
    coded = np.empty(min(CHUNK, length), STORAGE[wire.spec.dtype])
    shifted = np.empty(coded.size if wire.part == "high" else 0, np.int64)
    for start in range(0, length, CHUNK):
        values = view.read(wire.source, start, min(start + CHUNK, length))
        if wire.part == "high":
            values = np.right_shift(values, 32, out=shifted[: values.size])
        chunk = coded[: values.size]
        np.copyto(chunk, values, casting="unsafe")  # takes the low half modulo 2**32
        yield chunk


def split_names(tensor: TensorPlan) -> tuple[str, str]:
    """Return the names of a split tensor's low and high part."""
    return f"{tensor.name}.lo", f"{tensor.name}.hi"


def can_split(tensor: TensorPlan, plan: SumPlan) -> bool:
    """Return whether a tensor may be split: not where another tensor bears a name of its parts."""
    return plan.names.isdisjoint(split_names(tensor))


def _high_dtype(view: SumView, tensor: TensorPlan) -> str | None:
    """Return I8 or I16 when the upper half of every sum fits, else None: I64 is no larger then."""
    low = high = 0
    for start in range(0, tensor.sum_length, CHUNK):
        part = view.read(tensor, start, min(start + CHUNK, tensor.sum_length))
        low, high = min(low, int(part.min())), max(high, int(part.max()))
    for dtype in ("I8", "I16"):
        info = np.iinfo(STORAGE[dtype])
        if info.min <= low >> 32 and high >> 32 <= info.max:
            return dtype
    return None


def _require(arrays: Mapping[str, Values], name: str, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> None:
    array = arrays[name]
    if array.shape != shape or array.dtype.name not in dtypes:
        raise SchemaMismatch(
            f"the partial's tensor {name!r} is {array.dtype.name} {list(array.shape)}, "
            f"expected {' or '.join(dtypes)} {list(shape)}",
            tensor=name,
        )


def copy_sum(view: SumView, plan: SumPlan) -> ExactSum:
    """Return a sum in memory that equals `view`."""
    total = ExactSum(plan)
    total.merge(view)
    return total
