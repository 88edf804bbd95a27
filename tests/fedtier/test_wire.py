"""A partial's file: read back as it was written, in the fewest bytes, and refused when it is not the round's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtier.dtypes import STORAGE, Array
from fedtier.exact import ExactSum
from fedtier.kinds import CHUNK, LIMBS, SumPlan, TensorPlan
from fedtier.limbs import Int64s
from fedtier.problems import SchemaMismatch
from fedtier.wire import WireSum, wire_layout, wire_specs
from tests.fedtier.models import copy_sum, read_wire, rounds, through_wire, write_wire

LIMIT = 1 << 28


def one(name: str, shape: tuple[int, ...]) -> TensorPlan:
    return TensorPlan(name, "I64", shape, "integer", 0)


def summed(plan: SumPlan, **values: Int64s) -> ExactSum:
    """Return a sum that holds given values, whatever updates they came from."""
    total = ExactSum(plan)
    total.merge(WireSum(plan, values, total_weight=1, contributors=1))
    return total


def written(plan: SumPlan, **values: Int64s) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {spec.name: (spec.dtype, spec.shape) for spec in wire_specs(wire_layout(summed(plan, **values)))}


def refused(plan: SumPlan, arrays: dict[str, Array]) -> SchemaMismatch:
    with pytest.raises(SchemaMismatch) as error:
        WireSum(plan, arrays, total_weight=1, contributors=1)
    return error.value


# Round trips


@pytest.mark.parametrize("bits", [0, 20, 31, 32, 38, 39, 40, 46, 47, 48, 62])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_sums_of_every_width_are_read_back_as_they_were(bits: int, data: st.DataObject) -> None:
    plan = SumPlan((one("t", (2, 3)),), LIMIT)
    drawn = data.draw(st.lists(st.integers(-1 << bits, 1 << bits), min_size=6, max_size=6))
    total = summed(plan, t=np.array(drawn, np.int64).reshape(2, 3))
    assert copy_sum(through_wire(total), plan) == total


@given(rounds())
@settings(max_examples=50, deadline=None)
def test_rounds_of_all_kinds_are_read_back_as_they_were(drawn: Any) -> None:
    total = drawn.sum_of(range(len(drawn.updates)))
    assert copy_sum(through_wire(total), drawn.plan) == total


@pytest.mark.parametrize("top", [0, 1 << 38, 1 << 46, 1 << 61])
def test_a_sum_longer_than_a_chunk_is_read_back_to_its_end(top: int) -> None:
    plan = SumPlan((one("t", (2 * CHUNK + 3,)),), LIMIT)
    values = np.arange(2 * CHUNK + 3, dtype=np.int64) * 7 - CHUNK
    values[-1] = top
    total = summed(plan, t=values)
    assert copy_sum(through_wire(total), plan) == total


@pytest.mark.parametrize("high", [np.int8, np.int16, np.int32])
@pytest.mark.parametrize("value", [0, 1, -1, (1 << 32) - 1, 1 << 32, -(1 << 32), -(1 << 39), (1 << 39) - 1])
def test_every_width_of_the_upper_half_is_read(high: Any, value: int) -> None:
    plan = SumPlan((one("t", (1,)),), LIMIT)
    arrays = {"t.lo": np.array([value & 0xFFFFFFFF], np.uint32), "t.hi": np.array([value >> 32], high)}
    wire = WireSum(plan, arrays, total_weight=1, contributors=1)
    assert wire.read(plan.tensors[0], 0, 1).tolist() == [value]


def test_an_upper_half_of_32_bits_holds_every_int64() -> None:
    plan = SumPlan((one("t", (3,)),), LIMIT)
    values = [-(1 << 63), (1 << 63) - 1, -1]
    low = np.array([value & 0xFFFFFFFF for value in values], np.uint32)
    high = np.array([value >> 32 for value in values], np.int32)
    wire = WireSum(plan, {"t.lo": low, "t.hi": high}, total_weight=1, contributors=1)
    assert wire.read(plan.tensors[0], 0, 3).tolist() == values


def test_unaligned_parts_are_read() -> None:
    plan = SumPlan((one("t", (5,)),), LIMIT)
    values = np.arange(5) * ((1 << 33) + 1) - (1 << 34)
    low = np.frombuffer(b"\0" + (values & 0xFFFFFFFF).astype("<u4").tobytes(), "<u4", offset=1)
    high = np.frombuffer(b"\0" + (values >> 32).astype("<i2").tobytes(), "<i2", offset=1)
    wire = WireSum(plan, {"t.lo": low, "t.hi": high}, total_weight=1, contributors=1)
    assert wire.read(plan.tensors[0], 1, 4).tolist() == values[1:4].tolist()


# The fewest bytes


@pytest.mark.parametrize(
    ("value", "dtypes"),
    [
        (0, ("U32", "I8")),
        ((1 << 39) - 1, ("U32", "I8")),
        (-(1 << 39), ("U32", "I8")),
        (1 << 39, ("U32", "I16")),
        (-(1 << 39) - 1, ("U32", "I16")),
        ((1 << 47) - 1, ("U32", "I16")),
        (-(1 << 47), ("U32", "I16")),
        (1 << 47, ("I64",)),
        (-(1 << 47) - 1, ("I64",)),
        (1 << 62, ("I64",)),
    ],
)
def test_the_narrowest_exact_width_is_chosen(value: int, dtypes: tuple[str, ...]) -> None:
    plan = SumPlan((one("t", (CHUNK + 1,)),), LIMIT)
    values = np.zeros(CHUNK + 1, np.int64)
    values[-1] = value
    assert tuple(dtype for dtype, _ in written(plan, t=values).values()) == dtypes


def test_wide_tensors_travel_with_their_limbs_in_front_and_kept_ones_not_at_all() -> None:
    tensors = (TensorPlan("bias", "F32", (3,), "wide", 149), TensorPlan("mask", "F32", (3, 3), "kept", 0))
    plan = SumPlan(tensors, LIMIT)
    assert written(plan, bias=np.zeros((LIMBS, 3), np.int64)) == {"bias.lo": ("U32", (8, 3)), "bias.hi": ("I8", (8, 3))}


def test_every_part_is_aligned_to_its_items() -> None:
    plan = SumPlan((one("a", (3,)), one("b", (3,)), one("c", (3,)), one("d", (1,))), LIMIT)
    small, medium, large = (np.full(3, value, np.int64) for value in (1, 1 << 40, 1 << 50))
    specs = wire_specs(wire_layout(summed(plan, a=small, b=medium, c=large, d=np.array([1], np.int64))))
    start = 0
    for spec in specs:
        assert start % STORAGE[spec.dtype].itemsize == 0, spec
        start += spec.nbytes
    assert len(specs) == 7


def test_one_hundred_average_clients_take_a_third_less_than_int64() -> None:
    plan = SumPlan((TensorPlan("t", "F32", (100, 1000), "float", 26),), LIMIT)
    total = ExactSum(plan)
    random = np.random.default_rng(3)
    for _ in range(100):
        total.fold({"t": random.normal(0, 0.05, (100, 1000)).astype(np.float32)}, 600)
    assert len(write_wire(total)) < 0.64 * 8 * 100_000
    assert copy_sum(through_wire(total), plan) == total


# Names


def test_tensors_that_look_like_parts_of_others_are_told_apart() -> None:
    names = ("a", "a.lo", "a.lo.lo", "b", "b.hi", "c.lo", "c.hi", "d.hi.hi")
    plan = SumPlan(tuple(one(name, (2,)) for name in names), LIMIT)
    values = {name: np.array([number, -number], np.int64) for number, name in enumerate(names, 1)}
    total = summed(plan, **values)
    assert copy_sum(through_wire(total), plan) == total
    assert {name for name, (dtype, _) in written(plan, **values).items() if dtype == "I64"} == {"a", "a.lo", "b"}


def test_a_kept_tensor_keeps_its_name_from_being_used() -> None:
    plan = SumPlan((one("a", (2,)), TensorPlan("a.hi", "F32", (2,), "kept", 0)), LIMIT)
    assert written(plan, a=np.zeros(2, np.int64)) == {"a": ("I64", (2,))}
    parts: dict[str, Array] = {"a.lo": np.zeros(2, np.uint32), "a.hi": np.zeros(2, np.int8)}
    assert "no sum of tensor 'a'" in refused(plan, parts).detail


@given(st.lists(st.text("al.ohi", max_size=5), min_size=1, max_size=6, unique=True))
@settings(max_examples=60, deadline=None)
def test_no_set_of_names_collides(names: list[str]) -> None:
    plan = SumPlan(tuple(one(name, (1,)) for name in names), LIMIT)
    total = summed(plan, **{name: np.array([number], np.int64) for number, name in enumerate(names)})
    data = write_wire(total)
    assert copy_sum(read_wire(data, plan, total_weight=1, contributors=1), plan) == total


# Refusals


@pytest.fixture
def plan() -> SumPlan:
    return SumPlan((one("a", (2,)), TensorPlan("b", "F32", (3,), "wide", 149)), LIMIT)


@pytest.fixture
def arrays() -> dict[str, Array]:
    return {
        "a.lo": np.zeros(2, np.uint32),
        "a.hi": np.zeros(2, np.int8),
        "b": np.zeros((LIMBS, 3), np.int64),
    }


@pytest.mark.parametrize(("gone", "named"), [("a.lo", "a"), ("a.hi", "a"), ("b", "b")])
def test_a_missing_tensor_is_refused(plan: SumPlan, arrays: dict[str, Array], gone: str, named: str) -> None:
    WireSum(plan, arrays, total_weight=1, contributors=1)
    del arrays[gone]
    problem = refused(plan, arrays)
    assert f"no sum of tensor {named!r}" in problem.detail
    assert problem.members == {"tensor": named}


@pytest.mark.parametrize("extra", ["a", "c", "b.lo", "a.lo.lo", "a.mid"])
def test_an_extra_tensor_is_refused(plan: SumPlan, arrays: dict[str, Array], extra: str) -> None:
    arrays[extra] = np.zeros(2, np.int64)
    problem = refused(plan, arrays)
    unused = "a.hi" if extra == "a" else extra  # the whole of "a" makes its parts superfluous
    assert f"has a tensor {unused!r}, which the round does not sum" in problem.detail


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(("a.lo", dtype) for dtype in (np.int32, np.uint64, np.float32)),
        *(("a.hi", dtype) for dtype in (np.uint8, np.int64)),
        *(("b", dtype) for dtype in (np.uint64, np.float64, np.int32)),
    ],
)
def test_a_wrong_dtype_is_refused(plan: SumPlan, arrays: dict[str, Array], name: str, dtype: Any) -> None:
    arrays[name] = arrays[name].astype(dtype)
    problem = refused(plan, arrays)
    assert problem.members == {"tensor": name}
    assert f"tensor {name!r} is {arrays[name].dtype.name}" in problem.detail


@pytest.mark.parametrize(
    ("name", "shape"),
    [("a.lo", (3,)), ("a.hi", (1,)), ("a.hi", (2, 1)), ("a.lo", ()), ("b", (3,)), ("b", (24,)), ("b", (3, 8))],
)
def test_a_wrong_shape_is_refused(plan: SumPlan, arrays: dict[str, Array], name: str, shape: tuple[int, ...]) -> None:
    arrays[name] = np.zeros(shape, arrays[name].dtype)
    problem = refused(plan, arrays)
    assert f"{name!r} is {arrays[name].dtype.name} {list(shape)}, expected" in problem.detail


def test_reading_one_tensor_after_another_gives_each_its_own_values() -> None:
    plan = SumPlan((one("a", (2,)), one("b", (2,))), LIMIT)
    total = summed(plan, a=np.array([1, 2], np.int64), b=np.array([3, 4], np.int64))
    wire = through_wire(total)
    assert [wire.read(tensor, 0, 2).tolist() for tensor in plan.tensors] == [[1, 2], [3, 4]]
    assert wire.read(plan.tensors[0], 1, 2).tolist() == [2]
