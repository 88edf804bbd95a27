"""Hypothesis strategies for tensors and rounds at the edges of what is valid; partials written and read in memory."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fedtier.dtypes import STORAGE, Array, TensorSpec
from fedtier.exact import BoundedSum, ExactSum, SumView
from fedtier.header import read_header
from fedtier.kinds import SumPlan, plan_tensor
from fedtier.wire import WireSum
from tests import reference
from tests.builders import sum_bytes
from tests.reference import Tensor

FLOATS = ("F64", "F32", "F16", "BF16")
DTYPES = (*FLOATS, "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
SHAPES = ((), (0,), (1,), (3,), (1, 1), (2, 3), (0, 4), (1, 2, 2))
WEIGHT_LIMITS = (1, 2, 3, 1000, (1 << 28) - 1, 1 << 28, (1 << 28) + 1, 1 << 53)
_FLOAT_CODES: Mapping[str, tuple[Any, str]] = {
    "F64": (64, "<d"),
    "F32": (32, "<f"),
    "F16": (16, "<e"),
    "BF16": (32, "<f"),
}
_LARGEST = {"F64": 1024, "F32": 128, "F16": 16, "BF16": 128}


def stored(tensor: Tensor, offset: int = 0) -> Array:
    """Return a tensor as an array whose data starts at any byte, as in a mapped file."""
    flat = np.frombuffer(bytes(offset) + tensor.data, STORAGE[tensor.dtype], offset=offset)
    return flat.reshape(tensor.shape)


def tensor_of(array: Array, dtype: str) -> Tensor:
    return Tensor(dtype, tuple(array.shape), array.astype(STORAGE[dtype]).tobytes())


def items(dtype: str, bits: int) -> st.SearchStrategy[bytes]:
    """Return single values, as bytes: floats below ``2**bits`` in magnitude, integers up to it."""
    if dtype == "BOOL":
        return st.sampled_from([b"\0", b"\1"])
    if dtype not in FLOATS:
        code = reference.INTEGER_FORMATS[dtype]
        width = struct.calcsize("<" + code) * 8
        low, high = (0, (1 << width) - 1) if code.isupper() else (-1 << (width - 1), (1 << (width - 1)) - 1)
        low, high = max(low, -1 << bits), min(high, 1 << bits)
        values = st.one_of(st.sampled_from([low, high]), st.integers(low, high))
        return values.map(lambda value: struct.pack("<" + code, value))
    width, code = _FLOAT_CODES[dtype]
    bounds: dict[str, Any] = {"allow_infinity": False}
    if bits < _LARGEST[dtype]:
        bounds = {"min_value": -(2.0**bits), "max_value": 2.0**bits, "exclude_min": True, "exclude_max": True}
    floats = st.floats(width=width, allow_nan=False, **bounds)
    cut = 2 if dtype == "BF16" else 0
    return floats.map(lambda value: struct.pack(code, value)[cut:])


def tensors(dtype: str, shape: tuple[int, ...], bits: int) -> st.SearchStrategy[Tensor]:
    elements = int(np.prod(shape, dtype=np.int64))
    drawn = st.lists(items(dtype, bits), min_size=elements, max_size=elements)
    return drawn.map(lambda parts: Tensor(dtype, shape, b"".join(parts)))


def _opening_bits(dtype: str, weight_limit: int, wide: bool) -> int:
    if dtype not in FLOATS:
        return 62 - reference.weight_bits(weight_limit)
    return 128 if wide else 800


def _valid_bits(plan: reference.Plan, weight_limit: int) -> int:
    """How large the values of an update may be: below ``2**bits``."""
    return 128 if plan.kind in {"wide", "kept"} else 62 - reference.weight_bits(weight_limit) - plan.exponent


@dataclass(frozen=True)
class Round:
    """An opening model and valid updates to it."""

    weight_limit: int
    base: tuple[tuple[str, Tensor], ...]
    updates: tuple[tuple[dict[str, Tensor], int], ...]

    @property
    def plan(self) -> SumPlan:
        planned = (plan_tensor(TensorSpec(n, t.dtype, t.shape), stored(t), self.weight_limit) for n, t in self.base)
        return SumPlan(tuple(planned), self.weight_limit)

    def of(self, name: str) -> list[tuple[Tensor, int]]:
        return [(update[name], weight) for update, weight in self.updates]

    def arrays(self, number: int, offset: int = 0) -> dict[str, Array]:
        return {name: stored(tensor, offset) for name, tensor in self.updates[number][0].items()}

    def sum_of(self, numbers: Sequence[int]) -> ExactSum:
        total = ExactSum(self.plan)
        for number in numbers:
            total.fold(self.arrays(number), self.updates[number][1])
        return total


@st.composite
def rounds(
    draw: st.DrawFn, dtypes: Sequence[str] = DTYPES, *, tensors_at_most: int = 3, updates_at_least: int = 1
) -> Round:
    weight_limit = draw(st.sampled_from([limit for limit in WEIGHT_LIMITS if limit >= updates_at_least]))
    base: list[tuple[str, Tensor]] = []
    for number in range(draw(st.integers(1, tensors_at_most))):
        dtype, shape = draw(st.sampled_from(dtypes)), draw(st.sampled_from(SHAPES))
        tensor = draw(tensors(dtype, shape, _opening_bits(dtype, weight_limit, len(shape) <= 1)))
        if dtype in FLOATS and tensor.data and draw(st.integers(0, 9)) == 0:
            tensor = tensor_of(np.full(shape, 0x7F80 if dtype == "BF16" else -np.inf), dtype)
        base.append((f"t{number}", tensor))
    plans = {name: reference.plan_of(tensor, weight_limit) for name, tensor in base}
    updates = []
    left = weight_limit
    for remaining in reversed(range(draw(st.integers(updates_at_least, min(4, weight_limit))))):
        weight = draw(st.integers(1, left - remaining))
        left -= weight
        update = {n: draw(tensors(t.dtype, t.shape, _valid_bits(plans[n], weight_limit))) for n, t in base}
        updates.append((update, weight))
    return Round(weight_limit, tuple(base), tuple(updates))


def copy_sum(view: SumView, plan: SumPlan) -> ExactSum:
    """Return a sum in memory that equals another."""
    total = ExactSum(plan)
    total.merge(view)
    return total


def write_wire(total: BoundedSum) -> bytes:
    """Write a partial's file."""
    return sum_bytes(total, {})


def read_wire(data: bytes, plan: SumPlan, *, total_weight: int, contributors: int) -> WireSum:
    """Read a partial's file."""
    header = read_header(io.BytesIO(data))
    arrays = {
        s.name: np.frombuffer(data, STORAGE[s.dtype], s.elements, header.offsets[s.name]).reshape(s.shape)
        for s in header.specs
    }
    return WireSum(plan, arrays, total_weight=total_weight, contributors=contributors)


def through_wire(total: ExactSum) -> WireSum:
    """Return a sum as whoever receives it reads it."""
    data = write_wire(total)
    return read_wire(data, total.plan, total_weight=total.total_weight, contributors=total.contributors)
