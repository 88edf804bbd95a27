"""A partial holds what valid updates can add up to and nothing else: no sum overflows, no mean wraps or is infinite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from fedtier.bounds import check_sum
from fedtier.dtypes import TensorSpec, widen
from fedtier.exact import MAX_CONTRIBUTORS, ExactSum
from fedtier.kinds import CHUNK, LIMBS, SumPlan, plan_tensor
from fedtier.problems import OutOfRange
from fedtier.wire import WireSum
from tests.fedtier.models import Round, rounds, stored, tensor_of, through_wire
from tests.reference import Tensor

LIMIT = 1 << 28
few = settings(max_examples=50, deadline=None)


def one_tensor(tensor: Tensor, weight_limit: int = LIMIT) -> SumPlan:
    spec = TensorSpec("t", tensor.dtype, tensor.shape)
    return SumPlan((plan_tensor(spec, stored(tensor), weight_limit),), weight_limit)


def zeros(dtype: str, *shape: int) -> SumPlan:
    return one_tensor(tensor_of(np.zeros(shape), dtype))


def partial(plan: SumPlan, values: list[int], *, weight: int, contributors: int = 1) -> WireSum:
    sums = np.array(values, np.int64).reshape(plan.tensors[0].sum_shape)
    return WireSum(plan, {"t": sums}, total_weight=weight, contributors=contributors)


def mean_of(plan: SumPlan, sent: WireSum) -> list[float]:
    """Return the mean that comes of a partial alone; the next round opens with it, and sums it as this one does."""
    total = ExactSum(plan)
    total.merge(sent)
    (tensor,) = plan.tensors
    mean = np.concatenate(list(total.mean(tensor))).reshape(tensor.shape)
    assert plan_tensor(tensor.spec, mean, LIMIT).kind == tensor.kind
    return [float(value) for value in widen(mean, tensor.dtype).reshape(-1)]


@pytest.mark.parametrize("dtype", ["F32", "BF16", "I64"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("weight", [1, 5, LIMIT])
def test_a_partial_may_reach_what_its_weight_allows_and_no_more(dtype: str, sign: int, weight: int) -> None:
    plan = zeros(dtype, 1, 2)
    limit = weight << 34
    check_sum(plan, partial(plan, [0, sign * limit], weight=weight))
    seen = f"'t' has {sign * (limit + 1)} at flat index 1;.* {-limit} to {limit}"
    with pytest.raises(OutOfRange, match=seen) as refused:
        check_sum(plan, partial(plan, [0, sign * (limit + 1)], weight=weight))
    assert refused.value.members == {"tensor": "t", "index": [1], "value": str(sign * (limit + 1))}


@pytest.mark.parametrize(
    ("dtype", "least", "largest"),
    [
        ("BOOL", 0, 1),
        ("U8", 0, 255),
        ("I8", -128, 127),
        ("U16", 0, 65_535),
        ("I16", -32_768, 32_767),
        ("U32", 0, 2**32 - 1),
        ("I32", -(2**31), 2**31 - 1),
        ("U64", 0, 2**34),
    ],
)
@pytest.mark.parametrize("weight", [1, 600])
def test_no_partial_makes_an_integer_wrap(dtype: str, least: int, largest: int, weight: int) -> None:
    plan = zeros(dtype, 2)
    ends = partial(plan, [least * weight, largest * weight], weight=weight)
    check_sum(plan, ends)
    assert mean_of(plan, ends) == [least, largest]
    for value in (least * weight - 1, largest * weight + 1):
        with pytest.raises(OutOfRange, match=f"'t' has {value} at flat index 1"):
            check_sum(plan, partial(plan, [0, value], weight=weight))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("weight", [1, 600])
def test_no_partial_makes_a_matrix_of_half_precision_infinite(sign: int, weight: int) -> None:
    # Where the base model is large, the sum has room for what the dtype has none.
    plan = one_tensor(tensor_of(np.full((1, 2), 60_000.0), "F16"))
    largest = 65_504 * weight << plan.tensors[0].exponent
    assert largest < weight << 34
    ends = partial(plan, [0, sign * largest], weight=weight)
    check_sum(plan, ends)
    assert mean_of(plan, ends) == [0.0, sign * 65_504.0]
    with pytest.raises(OutOfRange, match="flat index 1"):
        check_sum(plan, partial(plan, [0, sign * largest + sign * (weight << 20)], weight=weight))


def limbs_of(value: int) -> list[int]:
    """Return a whole number in limbs, high first, as a client's would be."""
    limbs = []
    for _ in range(LIMBS - 1):
        low = (value + (1 << 38)) % (1 << 39) - (1 << 38)
        limbs.append(low)
        value = (value - low) >> 39
    return [value, *reversed(limbs)]


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("weight", [1, 600, LIMIT])
def test_no_partial_makes_a_bias_infinite(dtype: str, sign: int, weight: int) -> None:
    plan = zeros(dtype, 1)
    largest = {"F64": 1 << 128, "F32": (1 << 128) - (1 << 104), "F16": 65_504, "BF16": 255 << 120}[dtype]
    whole = sign * weight * largest << 149
    ends = partial(plan, limbs_of(whole), weight=weight, contributors=3)
    check_sum(plan, ends)
    assert mean_of(plan, ends) == [sign * float(largest)]
    with pytest.raises(OutOfRange, match=f"at flat index 0; {dtype} takes") as refused:
        check_sum(plan, partial(plan, limbs_of(whole + whole // 1000), weight=weight, contributors=3))
    assert refused.value.members["index"] == [0]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("limb", range(1, LIMBS))
@pytest.mark.parametrize("contributors", [1, 3, MAX_CONTRIBUTORS])
def test_every_lower_limb_of_a_partial_has_its_bound(limb: int, sign: int, contributors: int) -> None:
    plan = zeros("F32", 1)
    limbs = [0] * LIMBS
    limbs[limb] = sign * (contributors << 38)
    check_sum(plan, partial(plan, limbs, weight=contributors, contributors=contributors))
    limbs[limb] += sign
    with pytest.raises(OutOfRange, match=f"at flat index {limb}"):
        check_sum(plan, partial(plan, limbs, weight=contributors, contributors=contributors))


def test_limbs_that_cancel_hide_nothing() -> None:
    plan = zeros("F16", 1)
    limbs = [1, -(1 << 39), 1 << 5, 0, 0, 0, 0, 0]  # 2**200, as no update would write it
    with pytest.raises(OutOfRange, match="F16 takes magnitudes"):
        check_sum(plan, partial(plan, limbs, weight=2, contributors=2))


@pytest.mark.parametrize("weight", [0, -1, LIMIT + 1, 10**30])
def test_a_partial_s_weight_lies_within_the_limit(weight: int) -> None:
    plan = one_tensor(Tensor("I64", (1,), bytes(8)))
    with pytest.raises(OutOfRange, match=f"total_weight is {weight}"):
        check_sum(plan, partial(plan, [0], weight=weight))


@pytest.mark.parametrize("dtype", ["I8", "F32"])
def test_a_bad_sum_in_a_later_chunk_is_found(dtype: str) -> None:
    plan = one_tensor(tensor_of(np.zeros((1, CHUNK + 2)), dtype))
    values = np.zeros((1, CHUNK + 2), np.int64)
    values[0, -1] = np.iinfo(np.int64).min
    with pytest.raises(OutOfRange, match=f"flat index {CHUNK + 1}"):
        check_sum(plan, WireSum(plan, {"t": values}, total_weight=1, contributors=1))


@given(rounds())
@few
def test_every_sum_of_valid_updates_is_accepted(drawn: Round) -> None:
    check_sum(drawn.plan, through_wire(drawn.sum_of(range(len(drawn.updates)))))
