"""Kinds and exponents are those of the definition, and what a round cannot sum is refused by name, index and value."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtier.dtypes import STORAGE, Array, TensorSpec
from fedtier.kinds import (
    CHUNK,
    MAX_WEIGHT_LIMIT,
    SumPlan,
    TensorPlan,
    check_update,
    check_values,
    plan_tensor,
    value_limit,
)
from fedtier.problems import NotFinite, OutOfRange
from tests import reference
from tests.fedtier.models import DTYPES, FLOATS, stored, tensor_of, tensors
from tests.reference import Tensor

LIMIT = 1 << 28
WIDE_ELEMENTS = 65_536


def plan_of(values: Array, dtype: str, weight_limit: int = LIMIT) -> TensorPlan:
    array = stored(tensor_of(values, dtype))
    return plan_tensor(TensorSpec("layer.weight", dtype, array.shape), array, weight_limit)


# Which kind


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((), "wide"),
        ((0,), "wide"),
        ((WIDE_ELEMENTS,), "wide"),
        ((WIDE_ELEMENTS + 1,), "float"),
        ((1, 1), "float"),
        ((0, 3), "float"),
        ((1, 1, 1, 1), "float"),
    ],
)
def test_floats_of_few_elements_in_one_dimension_are_wide(dtype: str, shape: tuple[int, ...], kind: str) -> None:
    plan = plan_of(np.zeros(shape), dtype)
    assert (plan.kind, plan.exponent) == (kind, 149 if kind == "wide" else 26)
    assert plan.sum_shape == ((8, *shape) if kind == "wide" else shape)
    assert plan.sum_length == math.prod(plan.sum_shape)


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype not in FLOATS])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_everything_else_is_summed_as_integers(dtype: str, shape: tuple[int, ...]) -> None:
    plan = plan_of(np.ones(shape), dtype)
    assert (plan.kind, plan.exponent, plan.sum_shape) == ("integer", 0, shape)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (CHUNK + 9,)])
def test_a_tensor_that_is_not_finite_is_kept(dtype: str, shape: tuple[int, ...], bad: float) -> None:
    values = np.zeros(shape, np.float32)
    values.reshape(-1)[-1] = bad
    array = values.view(np.uint32) >> 16 if dtype == "BF16" else values
    plan = plan_of(array, dtype)
    assert (plan.kind, plan.exponent, plan.sum_length) == ("kept", 0, 0)
    sums = SumPlan((plan,), LIMIT)
    assert sums.summed == ()
    check_update(sums, {})  # a kept tensor's values are never looked at


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_kind_and_exponent_are_the_definition_s(dtype: str, data: st.DataObject) -> None:
    weight_limit = data.draw(st.integers(1, MAX_WEIGHT_LIMIT))
    shape = data.draw(st.sampled_from([(2,), (1, 2)]))
    tensor = data.draw(tensors(dtype, shape, 1024 if dtype in FLOATS else 64))
    try:
        expected = reference.plan_of(tensor, weight_limit)
    except reference.Refused:
        with pytest.raises(OutOfRange):
            plan_tensor(TensorSpec("t", dtype, shape), stored(tensor), weight_limit)
        return
    plan = plan_tensor(TensorSpec("t", dtype, shape), stored(tensor), weight_limit)
    assert (plan.kind, plan.exponent) == (expected.kind, expected.exponent)


# Which exponent


@pytest.mark.parametrize(
    ("largest", "exponent"),
    [
        (0.0, 26),  # the protocol's example: magnitude 256, c = 28
        (0.05, 26),
        (1.0, 26),
        (float(np.nextafter(np.float32(1), np.float32(2))), 25),
        (2.0, 25),
        (3.0, 24),
        (-4.0, 24),
        (1e12, -14),
        (float(np.finfo(np.float32).max), -102),
    ],
)
def test_the_exponent_leaves_room_for_256_times_the_largest_weight(largest: float, exponent: int) -> None:
    assert plan_of(np.array([[0.0, largest]], np.float32), "F32").exponent == exponent


@pytest.mark.parametrize(
    ("weight_limit", "bits"),
    [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (LIMIT - 1, 28), (LIMIT, 28), (LIMIT + 1, 29), (MAX_WEIGHT_LIMIT, 53)],
)
def test_the_weight_limit_takes_its_bits(weight_limit: int, bits: int) -> None:
    plan = plan_of(np.zeros((1, 1)), "F32", weight_limit)
    assert plan.exponent == 62 - bits - 8
    assert SumPlan((plan,), weight_limit).weight_bits == bits
    assert value_limit(plan, weight_limit) == 256


@pytest.mark.parametrize("weight_limit", [0, -1, MAX_WEIGHT_LIMIT + 1])
def test_a_weight_limit_that_sums_cannot_hold_is_refused(weight_limit: int) -> None:
    with pytest.raises(ValueError, match=f"the weight limit is {weight_limit}, not in"):
        SumPlan((), weight_limit)


@pytest.mark.parametrize(("power", "exponent"), [(926, -900), (927, None), (1015, None)])
def test_exponents_end_at_minus_900(power: int, exponent: int | None) -> None:
    model = np.array([[2.0**power]])
    if exponent is not None:
        assert plan_of(model, "F64").exponent == exponent
        return
    with pytest.raises(OutOfRange, match=r"layer.weight.*not one in \[-900, 900\]; scale the model down"):
        plan_of(model, "F64")


@pytest.mark.parametrize("value", [1e308, -1.7e308, 2.0**1016])
def test_a_model_too_large_for_any_exponent_is_refused(value: float) -> None:
    with pytest.raises(OutOfRange, match=r"layer.weight.*too large to be summed"):
        plan_of(np.array([[value]]), "F64")


@pytest.mark.parametrize("value", [2.0**129, -1e300])
def test_a_wide_model_too_large_for_the_limbs_is_refused(value: float) -> None:
    with pytest.raises(OutOfRange, match=r"at index \[1\]"):
        plan_of(np.array([0.0, value]), "F64")


@pytest.mark.parametrize(("dtype", "value"), [("I64", -(1 << 34) - 1), ("U64", (1 << 64) - 1), ("I64", -(1 << 63))])
def test_a_model_with_integers_too_large_is_refused(dtype: str, value: int) -> None:
    with pytest.raises(OutOfRange, match=rf"has {value} at index \[0\]"):
        plan_of(np.array([value, 0], STORAGE[dtype]), dtype)


# Which values


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(3,), (1, 3)])
@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_value_that_is_not_finite_is_named(dtype: str, shape: tuple[int, ...], value: float, shown: str) -> None:
    plan = plan_of(np.zeros(shape), dtype)
    bad = np.array([0, 1e30 if dtype != "F16" else 1, value], np.float32).reshape(shape)
    array = stored(tensor_of(bad.view(np.uint32) >> 16 if dtype == "BF16" else bad, dtype))
    index = [*[0] * (len(shape) - 1), 2]
    with pytest.raises(NotFinite) as refused:
        check_values(plan, array, LIMIT)
    assert refused.value.members == {"tensor": "layer.weight", "index": index, "value": shown}
    assert f"'layer.weight' has {shown} at index {index}" in refused.value.detail


@pytest.mark.parametrize("dtype", ["F64", "F32"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_float_must_stay_below_its_limit(dtype: str, sign: int) -> None:
    plan = plan_of(np.zeros((2, 2)), dtype)
    at_limit = np.array([[0, 0], [sign * 256, sign * 300]], STORAGE[dtype])
    below = np.where(at_limit == 0, at_limit, np.nextafter(at_limit.dtype.type(sign * 256), at_limit.dtype.type(0)))
    check_values(plan, below, LIMIT)
    with pytest.raises(OutOfRange, match=r"magnitudes below 256$") as refused:
        check_values(plan, at_limit, LIMIT)
    assert refused.value.members["index"] == [1, 0]
    assert refused.value.members["value"] == str(sign * 256.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_wide_float64_must_stay_below_two_to_the_128(sign: int) -> None:
    plan = plan_of(np.zeros(()), "F64")
    check_values(plan, np.array(sign * np.nextafter(2.0**128, 0)), LIMIT)
    with pytest.raises(OutOfRange) as refused:
        check_values(plan, np.array(sign * 2.0**128), LIMIT)
    assert refused.value.members["index"] == []


@pytest.mark.parametrize("dtype", ["I64", "U64"])
@pytest.mark.parametrize("weight_limit", [1, LIMIT, LIMIT + 1])
def test_an_integer_may_reach_its_limit(dtype: str, weight_limit: int) -> None:
    limit = 1 << (62 - reference.weight_bits(weight_limit))
    plan = plan_of(np.zeros(2), dtype, weight_limit)
    for value in (limit, -limit) if dtype == "I64" else (limit,):
        check_values(plan, np.array([0, value], STORAGE[dtype]), weight_limit)
        beyond = value + (1 if value > 0 else -1)
        with pytest.raises(OutOfRange, match="at most") as refused:
            check_values(plan, np.array([0, beyond], STORAGE[dtype]), weight_limit)
        assert refused.value.members == {"tensor": "layer.weight", "index": [1], "value": str(beyond)}


@pytest.mark.parametrize("dtype", ["I32", "I16", "I8", "U32", "U16", "U8", "BOOL"])
def test_every_integer_of_up_to_32_bits_is_taken(dtype: str) -> None:
    ends = [False, True] if dtype == "BOOL" else [np.iinfo(STORAGE[dtype]).min, np.iinfo(STORAGE[dtype]).max]
    values = np.array(ends, STORAGE[dtype])
    check_values(plan_of(np.zeros(2), dtype), values, LIMIT)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_exactly_what_the_definition_refuses_is_refused(dtype: str, data: st.DataObject) -> None:
    weight_limit = data.draw(st.sampled_from([1, 2, 1000, LIMIT, MAX_WEIGHT_LIMIT]))
    shape = data.draw(st.sampled_from([(), (2,), (1, 2)]))
    zero = Tensor(dtype, shape, bytes(math.prod(shape) * reference.item_bytes(dtype)))
    plan = plan_tensor(TensorSpec("t", dtype, shape), stored(zero), weight_limit)
    bits = data.draw(st.sampled_from([9, 127, 1024] if dtype in FLOATS else [9, 35, 64]))
    update = data.draw(tensors(dtype, shape, bits))
    try:
        reference.require_valid(reference.plan_of(zero, weight_limit), update, weight_limit)
    except reference.Refused:
        with pytest.raises(OutOfRange):
            check_values(plan, stored(update, 1), weight_limit)
    else:
        check_values(plan, stored(update, 1), weight_limit)


def test_the_first_bad_value_of_a_long_tensor_is_found() -> None:
    shape = (3, CHUNK)
    plan = plan_of(np.zeros(shape), "F32")
    values = np.zeros(shape, np.float32)
    values[2, 5], values[2, 7] = 1000, np.nan
    with pytest.raises(NotFinite) as refused:
        check_values(plan, values, LIMIT)
    assert refused.value.members["index"] == [2, 7]
    values[1, CHUNK - 1] = -1000
    with pytest.raises(OutOfRange) as too_large:
        check_values(plan, values, LIMIT)
    assert too_large.value.members["index"] == [1, CHUNK - 1]


def test_all_tensors_of_an_update_are_checked() -> None:
    specs = [TensorSpec(name, "F32", (1, 1)) for name in ("first", "last")]
    plan = SumPlan(tuple(plan_tensor(spec, np.zeros((1, 1), np.float32), LIMIT) for spec in specs), LIMIT)
    update = {"first": np.ones((1, 1), np.float32), "last": np.full((1, 1), np.nan, np.float32)}
    with pytest.raises(NotFinite, match="'last'"):
        check_update(plan, update)


def test_a_float16_beyond_a_small_limit_is_refused() -> None:
    # The limit itself, 2**40, is no float16: the comparison must not be made in it.
    plan = TensorPlan("t", "F16", (1, 1), "float", 30)
    with pytest.raises(OutOfRange):
        check_values(plan, np.array([[20]], np.float16), LIMIT)
    check_values(TensorPlan("t", "F16", (1, 1), "float", -6), np.array([[65504]], np.float16), LIMIT)


def test_headroom_is_at_least_256_of_the_opening_model() -> None:
    for value in (0.3, 1.0, 1.5, 7e5):
        plan = plan_of(np.array([[value]]), "F64")
        assert Fraction(value_limit(plan, LIMIT)) >= 256 * Fraction(value)
