"""Exact sums: equal to the definition to the bit, a commutative group, and as close to the true mean as stated."""

from __future__ import annotations

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtier.bounds import check_sum
from fedtier.dtypes import Array, TensorSpec, Values
from fedtier.exact import MAX_CONTRIBUTORS, ExactSum, SumView, check_arithmetic
from fedtier.header import encode_header
from fedtier.kinds import CHUNK, LIMBS, MAX_WEIGHT_LIMIT, SumPlan, TensorPlan, check_update, plan_tensor
from fedtier.limbs import LIMB_BITS
from fedtier.problems import WeightLimit
from fedtier.wire import WireSum
from tests import reference
from tests.fedtier.models import (
    DTYPES,
    FLOATS,
    Round,
    copy_sum,
    rounds,
    stored,
    tensor_of,
    tensors,
    through_wire,
    write_wire,
)
from tests.reference import Tensor

few = settings(max_examples=50, deadline=None)
LIMIT = 1 << 28
ROOT = Path(__file__).parents[2]


def whole_sum(total: SumView, tensor: TensorPlan) -> list[int]:
    """Return one whole number per element, limbs put together."""
    length = tensor.sum_length
    parts = [total.read(tensor, start, min(start + CHUNK, length)).copy() for start in range(0, length, CHUNK)]
    flat = np.concatenate([np.zeros(0, np.int64), *parts])
    if tensor.kind != "wide":
        return [int(value) for value in flat]
    units = [1 << (LIMB_BITS * (LIMBS - 1 - limb)) for limb in range(LIMBS)]
    columns = flat.reshape(LIMBS, -1).T.tolist()
    return [sum(limb * unit for limb, unit in zip(column, units, strict=True)) for column in columns]


def mean_bytes(total: ExactSum, tensor: TensorPlan) -> bytes:
    return b"".join(chunk.tobytes() for chunk in total.mean(tensor))


def one_tensor(tensor: Tensor, weight_limit: int = LIMIT) -> SumPlan:
    spec = TensorSpec("t", tensor.dtype, tensor.shape)
    return SumPlan((plan_tensor(spec, stored(tensor), weight_limit),), weight_limit)


def fold_all(plan: SumPlan, updates: list[tuple[Tensor, int]], offset: int = 0) -> ExactSum:
    total = ExactSum(plan)
    for tensor, weight in updates:
        array = {"t": stored(tensor, offset)}
        check_update(plan, array)
        total.fold(array, weight)
    return total


# The definition


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@few
def test_sum_and_mean_are_the_definition_s(dtype: str, data: st.DataObject) -> None:
    drawn = data.draw(rounds([dtype], tensors_at_most=1))
    total = ExactSum(drawn.plan)
    offset = data.draw(st.integers(0, 7), label="offset")
    for number, (_, weight) in enumerate(drawn.updates):
        arrays = drawn.arrays(number, offset)
        check_update(drawn.plan, arrays)
        total.fold(arrays, weight)
    (name, opening), tensor = drawn.base[0], drawn.plan.tensors[0]
    plan = reference.plan_of(opening, drawn.weight_limit)
    assert (tensor.kind, tensor.exponent) == (plan.kind, plan.exponent)
    if plan.kind == "kept":
        return
    assert whole_sum(total, tensor) == reference.total(plan, drawn.of(name))
    assert mean_bytes(total, tensor) == reference.mean(plan, drawn.of(name))


@given(rounds(tensors_at_most=4))
@few
def test_the_round_model_is_the_definition_s_to_the_byte(drawn: Round) -> None:
    total = drawn.sum_of(range(len(drawn.updates)))
    file = io.BytesIO()
    file.write(encode_header([tensor.spec for tensor in drawn.plan.tensors], {}))
    for (_, opening), tensor in zip(drawn.base, drawn.plan.tensors, strict=True):
        file.write(opening.data if tensor.kind == "kept" else mean_bytes(total, tensor))
    assert file.getvalue() == reference.round_model(drawn.base, drawn.updates, drawn.weight_limit)


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
@few
def test_wide_limbs_are_the_definition_s(dtype: str, data: st.DataObject) -> None:
    tensor = data.draw(tensors(dtype, (3,), 128))
    weight = data.draw(st.integers(1, LIMIT))
    total = fold_all(one_tensor(tensor), [(tensor, weight)])
    limbs = total.read(total.plan.tensors[0], 0, 3 * LIMBS).reshape(LIMBS, 3).T.tolist()
    assert limbs == [reference.limbs_of(term) for term in reference.terms(reference.Plan("wide", 149), tensor, weight)]


@pytest.mark.parametrize(("dtype", "extra"), [("F32", -1), ("F32", 0), *((dtype, 1) for dtype in DTYPES)])
def test_tensors_longer_than_a_chunk_are_summed_to_the_end(dtype: str, extra: int) -> None:
    # A pattern of 61 elements, so that no two chunks look alike; one element past 65,536 also changes wide to float.
    random = np.random.default_rng(5)
    elements, period = CHUNK + extra, 61
    pattern = random.integers(0, 2, period) if dtype == "BOOL" else random.integers(0, 120, period)
    values = pattern * 0.37 if dtype in {"F64", "F32", "F16"} else pattern
    small = tensor_of(values, dtype)
    shape = (elements,)
    long = tensor_of(np.resize(values, shape), dtype)
    total = fold_all(one_tensor(long), [(long, 3), (long, 8)], offset=1)
    tensor = total.plan.tensors[0]
    plan = reference.plan_of(long, LIMIT) if dtype not in FLOATS else reference.Plan(tensor.kind, tensor.exponent)
    assert tensor.kind == ("integer" if dtype not in FLOATS else "wide" if extra <= 0 else "float")
    expected = reference.total(plan, [(small, 3), (small, 8)])
    assert whole_sum(total, tensor) == np.resize(np.array(expected, object), shape).tolist()
    mean = np.frombuffer(reference.mean(plan, [(small, 3), (small, 8)]), stored(small).dtype)
    assert mean_bytes(total, tensor) == np.resize(mean, shape).tobytes()


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("F32", [1e12, 3e12, -1e12]),
        ("F32", [np.finfo(np.float32).max, -np.finfo(np.float32).max, 0.0]),
        ("F32", [1e-45, -1e-45, 1e-39]),
        ("F32", [-0.0, 0.0, -0.0]),
        ("F64", [np.nextafter(2.0**128, 0), -np.nextafter(2.0**128, 0), 5e-324]),
        ("F16", [65504.0, -65504.0, 6e-8]),
    ],
)
def test_running_statistics_of_any_size_are_summed_exactly(dtype: str, values: list[float]) -> None:
    opening = tensor_of(np.zeros(3), dtype)
    update = tensor_of(np.array(values), dtype)
    total = fold_all(one_tensor(opening), [(update, LIMIT - 2), (opening, 1), (update, 1)])
    plan = reference.plan_of(opening, LIMIT)
    updates = [(update, LIMIT - 2), (opening, 1), (update, 1)]
    assert whole_sum(total, total.plan.tensors[0]) == reference.total(plan, updates)
    assert mean_bytes(total, total.plan.tensors[0]) == reference.mean(plan, updates)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_negative_zero_becomes_zero(dtype: str, shape: tuple[int, ...]) -> None:
    smallest = {"F64": 5e-324, "F32": 2.0**-149, "F16": 2.0**-24}
    values = np.array([0x8000, 0x8001]) if dtype == "BF16" else np.array([-0.0, -smallest[dtype]])
    update = tensor_of(values.reshape(shape), dtype)
    zero = Tensor(dtype, shape, bytes(len(update.data)))
    total = fold_all(one_tensor(zero), [(update, 1), (zero, 1000)])
    assert mean_bytes(total, total.plan.tensors[0]) == zero.data


@pytest.mark.parametrize("weight_limit", [1, 3, LIMIT, MAX_WEIGHT_LIMIT])
def test_the_largest_sums_fit(weight_limit: int) -> None:
    opening = Tensor("F64", (1, 2), bytes(16))
    plan = one_tensor(opening, weight_limit)
    bits = 62 - plan.weight_bits - plan.tensors[0].exponent
    update = tensor_of(np.array([[np.nextafter(2.0**bits, 0), -np.nextafter(2.0**bits, 0)]]), "F64")
    weights = [weight_limit // 3, weight_limit - weight_limit // 3]
    updates = [(update, weight) for weight in weights if weight]
    total = fold_all(plan, updates)
    check_sum(plan, through_wire(total))
    found = reference.plan_of(opening, weight_limit)
    assert whole_sum(total, plan.tensors[0]) == reference.total(found, updates)
    assert max(map(abs, whole_sum(total, plan.tensors[0]))) <= 1 << 62


def test_any_set_byte_of_a_bool_counts_as_true() -> None:
    plan = one_tensor(Tensor("BOOL", (4,), bytes(4)))
    total = fold_all(plan, [(Tensor("BOOL", (4,), b"\x00\x01\x02\xff"), 5)])
    assert whole_sum(total, plan.tensors[0]) == [0, 5, 5, 5]


@pytest.mark.parametrize("dtype", ["I64", "U64"])
def test_integers_beyond_float64_are_exact(dtype: str) -> None:
    largest = 1 << 34
    values = np.array([largest, largest - 1, 3, 2]) if dtype == "U64" else np.array([largest, -largest, -3, -2])
    update, zero = tensor_of(values, dtype), tensor_of(np.zeros(4), dtype)
    total = fold_all(one_tensor(zero), [(update, LIMIT - 1), (zero, 1)])
    assert whole_sum(total, total.plan.tensors[0]) == [int(value) * (LIMIT - 1) for value in values]


@pytest.mark.parametrize(("values", "mean"), [((1, 2), 2), ((2, 3), 2), ((-1, -2), -2), ((-3, -2), -2), ((-1, 0), 0)])
def test_an_integer_mean_rounds_half_to_even(values: tuple[int, int], mean: int) -> None:
    first, second = (tensor_of(np.array([value]), "I32") for value in values)
    total = fold_all(one_tensor(first), [(first, 7), (second, 7)])
    assert [chunk.tolist() for chunk in total.mean(total.plan.tensors[0])] == [[mean]]


def test_fedavg_is_weighted_by_num_examples() -> None:
    one, four = tensor_of(np.full((1, 2), 1.0), "F32"), tensor_of(np.full((1, 2), 4.0), "F32")
    total = fold_all(one_tensor(one), [(one, 100), (four, 200)])
    assert [chunk.tolist() for chunk in total.mean(total.plan.tensors[0])] == [[3.0, 3.0]]


# The error bound


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
@few
def test_the_mean_is_as_close_as_stated(dtype: str, data: st.DataObject) -> None:
    drawn = data.draw(rounds([dtype], tensors_at_most=1))
    (name, opening), tensor = drawn.base[0], drawn.plan.tensors[0]
    plan = reference.plan_of(opening, drawn.weight_limit)
    if plan.kind == "kept":
        return
    total = drawn.sum_of(range(len(drawn.updates)))
    means = reference.numbers(Tensor(dtype, opening.shape, mean_bytes(total, tensor)))
    for index, found in enumerate(means):
        assert found is not None
        error = abs(found - reference.true_mean(drawn.of(name), index))
        assert error <= reference.error_bound(plan, drawn.of(name), index)


def test_the_mean_is_closer_than_a_running_float32_mean() -> None:
    random = np.random.default_rng(1)
    clients = [random.standard_normal((1, 8), dtype=np.float32) for _ in range(50)]
    zero = tensor_of(np.zeros((1, 8)), "F32")
    total = fold_all(one_tensor(zero), [(tensor_of(client, "F32"), 1) for client in clients])
    running = np.zeros(8, np.float32)
    for client in clients:
        running += client[0]
    ours = np.frombuffer(mean_bytes(total, total.plan.tensors[0]), np.float32)
    true = [sum((Fraction(float(c[0, i])) for c in clients), Fraction(0)) / len(clients) for i in range(8)]

    def error(values: Array) -> Fraction:
        off = (abs(Fraction(float(value)) - exact) for value, exact in zip(values, true, strict=True))
        return sum(off, Fraction(0))

    assert error(ours) < error(running / np.float32(len(clients)))


# The laws


@given(st.data())
@few
def test_any_order_and_grouping_gives_the_same_sum(data: st.DataObject) -> None:
    drawn = data.draw(rounds(updates_at_least=2))
    everyone = list(range(len(drawn.updates)))
    expected = drawn.sum_of(everyone)

    def grouped(members: list[int]) -> ExactSum:
        if len(members) == 1 or data.draw(st.booleans(), label="flat"):
            return drawn.sum_of(members)
        cut = data.draw(st.integers(1, len(members) - 1), label="cut")
        total = copy_sum(through_wire(grouped(members[:cut])), drawn.plan)
        total.merge(through_wire(grouped(members[cut:])))
        return total

    total = grouped(data.draw(st.permutations(everyone)))
    assert total == expected
    for tensor in drawn.plan.summed:
        assert mean_bytes(total, tensor) == mean_bytes(expected, tensor)


@given(rounds(updates_at_least=3))
@few
def test_merging_is_commutative_and_associative(drawn: Round) -> None:
    a, b, c = ([0], [1], [2])
    left, right = drawn.sum_of(a), drawn.sum_of(c)
    left.merge(drawn.sum_of(b))
    left.merge(drawn.sum_of(c))
    tail = drawn.sum_of(b)
    right.merge(tail)
    right.merge(drawn.sum_of(a))
    assert left == right


@given(rounds())
@few
def test_the_sum_of_nothing_is_neutral(drawn: Round) -> None:
    everyone = range(len(drawn.updates))
    total, nothing = drawn.sum_of(everyone), ExactSum(drawn.plan)
    total.merge(nothing)
    nothing.merge(total)
    assert total == nothing == drawn.sum_of(everyone)
    total.clear()
    assert total == ExactSum(drawn.plan)


@given(rounds(), rounds())
@few
def test_a_sum_cleared_for_another_plan_is_as_good_as_new(drawn: Round, following: Round) -> None:
    total = drawn.sum_of(range(len(drawn.updates)))
    total.clear(following.plan)
    assert total == ExactSum(following.plan)
    everyone = following.sum_of(range(len(following.updates)))
    total.merge(everyone)
    assert total == everyone


def test_sums_that_differ_in_one_unit_are_not_equal() -> None:
    plan = one_tensor(Tensor("I64", (2,), bytes(16)))
    a, b = (fold_all(plan, [(tensor_of(np.array([1, value]), "I64"), 1)]) for value in (5, 6))
    assert a != b
    assert a != fold_all(plan, [(tensor_of(np.array([1, 5]), "I64"), 1), (Tensor("I64", (2,), bytes(16)), 1)])


def test_a_sum_changes_in_place_so_it_is_no_key() -> None:
    total = ExactSum(one_tensor(Tensor("I64", (2,), bytes(16))))
    with pytest.raises(TypeError, match="changes in place"):
        hash(total)


# Refusals change nothing


def two_kinds() -> tuple[SumPlan, dict[str, Array]]:
    arrays: dict[str, Array] = {"a": np.full((2, 2), 1.5, np.float32), "b": np.arange(3, dtype=np.int32)}
    specs = (TensorSpec("a", "F32", (2, 2)), TensorSpec("b", "I32", (3,)))
    return SumPlan(tuple(plan_tensor(spec, arrays[spec.name], 10) for spec in specs), 10), arrays


def test_a_sum_without_room_stays_as_it_was() -> None:
    plan, arrays = two_kinds()
    total, seven = ExactSum(plan), ExactSum(plan)
    total.fold(arrays, 4)
    seven.fold(arrays, 7)
    before = copy_sum(total, plan)
    with pytest.raises(WeightLimit, match="7 more examples on top of 4 exceed the round's limit of 10"):
        total.fold(arrays, 7)
    with pytest.raises(WeightLimit, match="limit of 10"):
        total.merge(through_wire(seven))
    with pytest.raises(WeightLimit):
        total.fold(arrays, 10**30)
    assert total == before


def test_a_missing_tensor_leaves_the_sum_as_it_was() -> None:
    plan, arrays = two_kinds()
    total = ExactSum(plan)
    with pytest.raises(KeyError):
        total.fold({"a": arrays["a"]}, 1)
    assert total == ExactSum(plan)


class Unreadable:
    """A tensor of zeros whose second window cannot be read."""

    shape, size, dtype = (CHUNK + 2,), CHUNK + 2, np.dtype(np.float32)

    def ravel(self) -> Values:
        return self

    def __getitem__(self, window: slice, /) -> Array:
        if window.start:
            raise OSError("no more")
        return np.ones(window.stop, np.float32)


def test_a_sum_with_a_part_of_an_update_is_not_used_until_it_is_cleared() -> None:
    plan = one_tensor(tensor_of(np.zeros(CHUNK + 2), "F32"))
    ones, broken = {"t": np.ones(CHUNK + 2, np.float32)}, {"t": Unreadable()}
    total = ExactSum(plan)
    total.fold(ones, 3)
    with pytest.raises(OSError, match="no more"):
        total.fold(broken, 1)
    uses = (
        lambda: total.fold(ones, 1),
        lambda: ExactSum(plan).merge(total),
        lambda: list(total.mean(plan.tensors[0])),
        lambda: write_wire(total),
    )
    for use in uses:
        with pytest.raises(OSError, match="holds a part of what could not be read"):
            use()
    total.clear()
    total.fold(ones, 3)
    assert {chunk.tobytes() for chunk in total.mean(plan.tensors[0])} == {
        np.ones(size, np.float32).tobytes() for size in (CHUNK, 2)
    }


def test_a_sum_of_nothing_stays_that_when_the_first_update_cannot_be_read() -> None:
    plan = one_tensor(tensor_of(np.zeros(CHUNK + 2), "F32"))
    total = ExactSum(plan)
    with pytest.raises(OSError, match="no more"):
        total.fold({"t": Unreadable()}, 1)
    assert total == ExactSum(plan)


def test_the_number_of_contributors_is_limited() -> None:
    plan = one_tensor(Tensor("F32", (1,), bytes(4)))
    zeros = {"t": np.zeros((LIMBS, 1), np.int64)}
    total = ExactSum(plan)
    total.merge(WireSum(plan, zeros, total_weight=MAX_CONTRIBUTORS, contributors=MAX_CONTRIBUTORS))
    before = copy_sum(total, plan)
    with pytest.raises(WeightLimit, match=str(MAX_CONTRIBUTORS)):
        total.fold({"t": np.zeros(1, np.float32)}, 1)
    assert total == before


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "I64"])
def test_chunks_of_a_mean_stay_as_they_are_while_the_next_ones_are_made(dtype: str) -> None:
    values = tensor_of(np.arange(2 * CHUNK + 3).reshape(1, -1) % 100, dtype)
    total = fold_all(one_tensor(values), [(values, 3)])
    chunks = list(total.mean(total.plan.tensors[0]))
    assert len(chunks) == 3
    assert b"".join(chunk.tobytes() for chunk in chunks) == values.data


def test_nothing_and_kept_tensors_have_no_mean() -> None:
    plan = one_tensor(Tensor("F32", (1,), bytes(4)))
    with pytest.raises(ValueError, match="total weight 0"):
        list(ExactSum(plan).mean(plan.tensors[0]))
    masked = one_tensor(tensor_of(np.full((1,), -np.inf), "F32"))
    total = fold_all(masked, [(Tensor("F32", (1,), bytes(4)), 1)])
    with pytest.raises(ValueError, match="has no mean"):
        list(total.mean(masked.tensors[0]))


# The ends of the range


def partial(plan: SumPlan, values: list[int], *, weight: int, contributors: int = 1) -> WireSum:
    sums = np.array(values, np.int64).reshape(plan.tensors[0].sum_shape)
    return WireSum(plan, {"t": sums}, total_weight=weight, contributors=contributors)


def test_the_extremes_of_the_limbs_survive_merging_and_the_mean() -> None:
    plan = one_tensor(Tensor("F64", (1,), bytes(8)))
    contributors = MAX_CONTRIBUTORS // 2
    limbs = [1 << 60, *[contributors << 38] * (LIMBS - 1)]
    total = ExactSum(plan)
    for _ in range(2):
        total.merge(partial(plan, limbs, weight=contributors, contributors=contributors))
    whole = sum(2 * limb << (LIMB_BITS * (LIMBS - 1 - i)) for i, limb in enumerate(limbs))
    assert whole_sum(total, plan.tensors[0]) == [whole]
    expected = reference.nearest(Fraction(whole), "F64") / (MAX_CONTRIBUTORS * reference.power(149))
    assert mean_bytes(total, plan.tensors[0]) == reference.encode(expected, "F64")


def test_a_wide_sum_is_rounded_once() -> None:
    # The last limb decides: adding limb by limb in float64 would end halfway between two numbers and round down.
    plan = one_tensor(Tensor("F64", (1,), bytes(8)))
    limbs = [0] * (LIMBS - 3) + [1 << 31, 1 << 17, 1]  # 2**109, half its ulp, and one
    total = ExactSum(plan)
    total.merge(partial(plan, limbs, weight=1))
    whole = (1 << 109) + (1 << 56) + 1
    assert whole_sum(total, plan.tensors[0]) == [whole]
    expected = (reference.power(109) + reference.power(57)) / reference.power(149)
    assert mean_bytes(total, plan.tensors[0]) == reference.encode(expected, "F64")


# The machine


def test_flush_to_zero_is_refused() -> None:
    pytest.importorskip("torch")
    check_arithmetic()
    program = (
        "import torch; from fedtier.exact import check_arithmetic\n"
        "assert torch.set_flush_denormal(True)\n"
        "try: check_arithmetic()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("StartupError this process flushes subnormal float64 numbers to zero")
