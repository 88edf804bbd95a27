"""Half-size tensors of an update count as the float32 numbers that they are, exactly, whatever they are mixed with."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtier.dtypes import STORAGE, Array, TensorSpec, Widened, round_to, spec_of, widen, widen_into
from fedtier.entries import Entry, Received, add_entry, read_partial, read_update
from fedtier.exact import ExactSum
from fedtier.kinds import CHUNK
from fedtier.problems import NotFinite, NotSafetensors, OutOfRange, SchemaMismatch
from fedtier.rounds import RoundPlan
from fedtier.sum_files import write_partial
from fedtier.tensors import write_arrays
from tests import reference
from tests.builders import make_plan, model_arrays, received, trained, update_bytes
from tests.reference import Refused, Tensor

HALVES = ("BF16", "F16")
MODEL: dict[str, Array] = {**model_arrays(), "dense": np.zeros((3, CHUNK // 2), np.float32)}
PLAN = make_plan(MODEL)
LARGE = ("conv.weight", "dense")


def widened(stored: Array, dtype: str) -> Array:
    single = np.empty(stored.shape, np.float32)
    widen_into(single, stored, dtype)
    return single


def body_of(arrays: Mapping[str, Array], dtypes: Mapping[str, str], num_examples: int = 10) -> bytes:
    """Return an update's body of stored arrays, some of them under other dtypes than their own."""
    file = io.BytesIO()
    specs = [TensorSpec(n, dtypes.get(n, spec_of(n, a).dtype), a.shape) for n, a in arrays.items()]
    write_arrays(file, arrays, specs=specs, metadata={"num_examples": str(num_examples)})
    return file.getvalue()


def halved_body(arrays: Mapping[str, Array], dtype: str, num_examples: int = 10) -> bytes:
    stored = {name: round_to(array, dtype) if name in LARGE else array for name, array in arrays.items()}
    return body_of(stored, dict.fromkeys(LARGE, dtype), num_examples)


def entry_of(folder: Path, seed: int, dtype: str) -> Entry:
    arrays = trained(seed, MODEL)
    body = update_bytes(arrays, seed + 1) if dtype == "F32" else halved_body(arrays, dtype, seed + 1)
    return read_update(PLAN, f"client-{seed}", received(folder / f"{dtype}-{seed}", body))


def model_of(total: ExactSum) -> str:
    digest = hashlib.sha256()
    for tensor in total.plan.summed:
        for chunk in total.mean(tensor):
            digest.update(chunk.data)
    return digest.hexdigest()


# Numbers


@pytest.mark.parametrize("dtype", HALVES)
def test_each_of_the_65536_patterns_is_widened_to_the_number_that_it_is(dtype: str) -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    single = widened(patterns.view(STORAGE[dtype]), dtype)
    numbers = reference.numbers(Tensor(dtype, patterns.shape, patterns.tobytes()))
    assert [Fraction(float(x)) if np.isfinite(x) else None for x in single] == numbers
    np.testing.assert_array_equal(np.signbit(single), patterns >= 0x8000)
    assert int(np.isinf(single).sum()) == 2
    assert widen(patterns, "BF16").tobytes() == widened(patterns, "BF16").tobytes()


@pytest.mark.parametrize("dtype", HALVES)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
@settings(max_examples=80, deadline=None)
def test_a_number_is_rounded_to_the_nearest_half_to_even_or_becomes_infinite(dtype: str, drawn: list[float]) -> None:
    values = np.array(drawn, np.float32)
    for value, half in zip(values, widened(round_to(values, dtype), dtype), strict=True):
        try:
            expected = float(reference.nearest(Fraction(float(value)), dtype))
        except Refused:
            expected = float(np.copysign(np.inf, value))
        assert float(half) == expected


@pytest.mark.parametrize("dtype", HALVES)
def test_an_array_of_several_pieces_is_rounded_as_its_numbers_are(dtype: str) -> None:
    values = np.random.default_rng(5).normal(0, 100, (3, CHUNK // 2 + 7)).astype(np.float32)
    rounded = round_to(values, dtype)
    assert rounded.shape == values.shape
    assert rounded.tobytes() == b"".join(round_to(row, dtype).tobytes() for row in values)


@pytest.mark.parametrize("dtype", HALVES)
def test_windows_of_widened_values_are_those_of_the_array(dtype: str) -> None:
    stored = round_to(np.linspace(-9, 9, 60, dtype=np.float32).reshape(6, 10), dtype)
    values = Widened(stored, dtype, np.empty(25, np.float32))
    assert (values.shape, values.size, values.dtype) == ((6, 10), 60, np.dtype(np.float32))
    for start, stop in [(0, 25), (20, 21), (50, 70)]:
        assert values.ravel()[start:stop].tolist() == widened(stored, dtype).ravel()[start:stop].tolist()


# Updates


@pytest.mark.parametrize("dtype", HALVES)
def test_a_half_size_update_adds_what_its_float32_numbers_would(tmp_path: Path, dtype: str) -> None:
    entry = entry_of(tmp_path, 3, dtype)
    arrays = trained(3, MODEL)
    same = {n: widened(round_to(a, dtype), dtype) if n in LARGE else a for n, a in arrays.items()}
    total, expected = ExactSum(PLAN.sums), ExactSum(PLAN.sums)
    add_entry(total, entry)
    expected.fold(same, 4)
    assert total == expected
    assert entry.contributors[0].sha256 == hashlib.sha256(entry.body.path.read_bytes()).hexdigest()
    whole = entry_of(tmp_path, 3, "F32")
    assert entry.body.path.stat().st_size < 0.51 * whole.body.path.stat().st_size


@given(st.binary(min_size=24, max_size=24), st.sampled_from(HALVES), st.integers(1, 2**18))
@settings(max_examples=80, deadline=None)
def test_any_patterns_sum_to_what_the_definition_makes_of_them(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, dtype: str, num_examples: int
) -> None:
    plan = make_plan({"w": np.zeros((3, 4), np.float32)})
    (tensor,) = plan.sums.tensors
    path = tmp_path_factory.mktemp("any") / "update"
    stored = np.frombuffer(data, STORAGE[dtype]).reshape(3, 4)
    wanted = Tensor("F32", (3, 4), widened(stored, dtype).tobytes())
    planned = reference.Plan(tensor.kind, tensor.exponent)
    body = received(path, body_of({"w": stored}, {"w": dtype}, num_examples))
    try:
        reference.require_valid(planned, wanted, plan.weight_limit)
    except Refused:
        with pytest.raises((NotFinite, OutOfRange)) as refused:
            read_update(plan, "a", body)
        assert refused.value.members["tensor"] == "w"
        return
    total = ExactSum(plan.sums)
    add_entry(total, read_update(plan, "a", body))
    assert total.read(tensor, 0, 12).tolist() == reference.terms(planned, wanted, num_examples)


def test_a_mixed_federation_makes_the_same_model_in_any_order_and_through_any_worker(tmp_path: Path) -> None:
    dtypes = ("F32", "BF16", "F16", "BF16")
    entries = [entry_of(tmp_path, seed, dtype) for seed, dtype in enumerate(dtypes)]
    models = set()
    for number, order in enumerate(itertools.permutations(entries)):
        total = ExactSum(PLAN.sums)
        partial = write_partial(PLAN, order[:2], tmp_path / f"partial-{number}")
        for entry in (*order[2:], read_partial(PLAN, partial)):
            add_entry(total, entry)
        models.add(model_of(total))
    assert len(models) == 1


# Refusals


def read(plan: RoundPlan, folder: Path, arrays: Mapping[str, Array], dtypes: Mapping[str, str]) -> Entry:
    return read_update(plan, "a", received(folder / "update", body_of(arrays, dtypes)))


def test_what_is_taken_is_named_where_a_tensor_is_of_another_dtype_or_shape(tmp_path: Path) -> None:
    arrays = trained(1, MODEL)
    doubled = {**arrays, "conv.weight": arrays["conv.weight"].astype(np.float64)}
    with pytest.raises(SchemaMismatch, match=r"'conv.weight': expected F32, BF16 or F16 \[2, 3\], got F64 \[2, 3\]"):
        read(PLAN, tmp_path, doubled, {})
    turned = {**arrays, "conv.weight": round_to(arrays["conv.weight"].T, "BF16")}
    with pytest.raises(SchemaMismatch, match=r"expected F32, BF16 or F16 \[2, 3\], got BF16 \[3, 2\]"):
        read(PLAN, tmp_path, turned, {"conv.weight": "BF16"})
    del arrays["conv.weight"]
    with pytest.raises(SchemaMismatch, match=r"'conv.weight' is missing; expected F32, BF16 or F16 \[2, 3\]"):
        read(PLAN, tmp_path, arrays, {})


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["conv.bias", "steps", "mask"])
def test_only_large_floats_may_be_half_size(tmp_path: Path, dtype: str, name: str) -> None:
    arrays = trained(1, MODEL)
    halved = {**arrays, name: np.zeros(arrays[name].shape, STORAGE[dtype])}
    with pytest.raises(SchemaMismatch, match=rf"{name}.*expected (F32|I64) \[.*got {dtype}"):
        read(PLAN, tmp_path, halved, {name: dtype})


@pytest.mark.parametrize("own", ["F64", "F16", "BF16"])
@pytest.mark.parametrize("dtype", [*HALVES, "F32"])
def test_of_another_dtype_than_float32_an_update_carries_that_dtype_alone(tmp_path: Path, own: str, dtype: str) -> None:
    stored = np.zeros((2, 2), STORAGE[own])
    (tensor,) = make_plan({"w": np.zeros((2, 2), np.float32)}).tensors
    plan = make_plan({"w": np.zeros((2, 2), np.float32)}, tensors=(type(tensor)("w", own, (2, 2), "float", 26),))
    assert read(plan, tmp_path, {"w": stored}, {"w": own}).total_weight == 10
    if dtype != own:
        with pytest.raises(SchemaMismatch, match=rf"expected {own} \[2, 2\], got {dtype}"):
            read(plan, tmp_path, {"w": np.zeros((2, 2), STORAGE[dtype])}, {"w": dtype})


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_half_size_number_that_is_none_is_named(tmp_path: Path, dtype: str, bad: float) -> None:
    arrays = trained(1, MODEL)
    arrays["dense"][2, 4] = bad
    body = received(tmp_path / "update", halved_body(arrays, dtype))
    with pytest.raises(NotFinite, match=rf"'dense' has {bad} at index \[2, 4\]"):
        read_update(PLAN, "a", body)


def test_a_half_size_number_beyond_the_round_s_is_named(tmp_path: Path) -> None:
    arrays = trained(1, MODEL)
    arrays["conv.weight"][1, 0] = 60000
    body = received(tmp_path / "update", halved_body(arrays, "F16"))
    with pytest.raises(OutOfRange, match=r"'conv.weight' has .* at index \[1, 0\]; this round takes .* below 256"):
        read_update(PLAN, "a", body)


def test_a_half_size_update_that_ends_early_is_refused(tmp_path: Path) -> None:
    body = halved_body(trained(1, MODEL), "BF16")
    cut = received(tmp_path / "update", body[:-2])
    with pytest.raises(NotSafetensors):
        read_update(PLAN, "a", cut)
    whole = received(tmp_path / "whole", body)
    entry = read_update(PLAN, "a", whole)
    with whole.path.open("r+b") as file:
        file.truncate(len(body) - 2)
    with pytest.raises(OSError, match="lost its end"):
        add_entry(ExactSum(PLAN.sums), entry)
    assert isinstance(entry.body, Received)
