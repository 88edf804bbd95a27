from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtier.dtypes import Array, TensorSpec
from fedtier.entries import Entry, add_entry, read_partial, read_update
from fedtier.entry_sums import EntrySum, EntryUnreadable
from fedtier.exact import MAX_CONTRIBUTORS, ExactSum
from fedtier.header import encode_header
from fedtier.kinds import CHUNK
from fedtier.magnitudes import rounded_up
from fedtier.problems import WeightLimit
from fedtier.rounds import Contributor, RoundPlan
from fedtier.sum_files import write_partial, write_sum
from fedtier.wire import wire_layout, wire_specs
from tests import reference
from tests.builders import contributor, make_plan, partial_bytes, partial_entry, received, sum_of, trained, update_bytes
from tests.fedtier.models import Round, copy_sum, rounds, write_wire
from tests.reference import Tensor

PLAN = make_plan()
LONG = 2 * CHUNK + 3


def update(folder: Path, plan: RoundPlan, arrays: dict[str, Array], weight: int = 10, name: str = "a") -> Entry:
    return read_update(plan, name, received(folder / f"update-{name}", update_bytes(arrays, weight)))


def partial(folder: Path, *seeds: int) -> Entry:
    members = {f"client-{seed}": (trained(seed), seed + 1) for seed in seeds}
    return read_partial(PLAN, received(folder / f"partial-{seeds[0]}", partial_bytes(PLAN, members)))


def entries_of(folder: Path) -> list[Entry]:
    """Return updates and partials of a model with a tensor of every kind."""
    return [
        update(folder, PLAN, trained(1), 2, "client-1"),
        partial(folder, 2, 3),
        update(folder, PLAN, trained(4), 5, "client-4"),
        partial(folder, 5),
    ]


def test_it_is_the_sum_in_memory_of_the_same_entries(tmp_path: Path) -> None:
    total = EntrySum(PLAN.sums, entries_of(tmp_path))
    assert copy_sum(total, PLAN.sums) == sum_of(PLAN, [(trained(seed), seed + 1) for seed in (1, 2, 3, 4, 5)])
    assert (total.total_weight, total.contributors) == (20, 5)


@given(order=st.permutations(range(4)), again=st.booleans())
@settings(max_examples=24, deadline=None)
def test_order_leaves_no_trace(tmp_path_factory: pytest.TempPathFactory, order: list[int], again: bool) -> None:
    folder = tmp_path_factory.mktemp("order")
    entries = entries_of(folder)
    first = write_partial(PLAN, entries, folder / "first")
    total = EntrySum(PLAN.sums, [entries[number] for number in order])
    if again:  # what was read before leaves nothing in the windows
        write_sum(total, folder / "before", {})
    assert write_wire(total) == write_wire(EntrySum(PLAN.sums, entries))
    assert write_partial(PLAN, [entries[number] for number in order], folder / "second").sha256 == first.sha256


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int8", "bool"])
def test_tensors_longer_than_a_window_are_added_to_their_end(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(1)
    models: list[dict[str, Array]] = [
        {"w": (rng.standard_normal((1, LONG)) * 3).astype(dtype), "b": rng.standard_normal(9).astype(np.float32)}
        for _ in range(3)
    ]
    plan = make_plan(models[0])
    entries = [update(tmp_path, plan, model, 7 + n, str(n)) for n, model in enumerate(models)]
    expected = sum_of(plan, [(model, 7 + n) for n, model in enumerate(models)])
    assert copy_sum(EntrySum(plan.sums, entries), plan.sums) == expected
    written = write_partial(plan, entries, tmp_path / "partial")
    assert written.sha256 == hashlib.sha256(written.path.read_bytes()).hexdigest()
    above = ExactSum(plan.sums)
    add_entry(above, read_partial(plan, written))
    assert above == expected


@pytest.mark.parametrize("elements", [CHUNK // 8 + 1, CHUNK])
def test_wide_tensors_are_added_to_their_last_limb(tmp_path: Path, elements: int) -> None:
    rng = np.random.default_rng(2)
    models = [{"bias": (rng.standard_normal(elements) * 1e9).astype(np.float32)} for _ in range(4)]
    plan = make_plan(models[0], weight_limit=1 << 40)
    weights = [1, (1 << 34) + 1, (1 << 37) + 5, 3]
    alone = [update(tmp_path, plan, model, n, str(n)) for model, n in zip(models, weights, strict=True)]
    assert [spec.dtype for spec in wire_specs(wire_layout(EntrySum(plan.sums, alone[:1])))] == ["U32", "I8"]
    pair = read_partial(plan, write_partial(plan, alone[2:], tmp_path / "pair"))
    expected = sum_of(plan, zip(models, weights, strict=True))
    assert copy_sum(EntrySum(plan.sums, alone), plan.sums) == expected
    assert copy_sum(EntrySum(plan.sums, [alone[0], pair, alone[1]]), plan.sums) == expected


def entry_of(folder: Path, plan: RoundPlan, tensors: Mapping[str, Tensor], weight: int, name: str) -> Entry:
    specs = [TensorSpec(tensor_name, tensor.dtype, tensor.shape) for tensor_name, tensor in tensors.items()]
    head = encode_header(specs, {"num_examples": str(weight)})
    return read_update(plan, name, received(folder / name, head + b"".join(t.data for t in tensors.values())))


@given(drawn=rounds(updates_at_least=2), split=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_it_is_the_sum_of_the_definition(tmp_path_factory: pytest.TempPathFactory, drawn: Round, split: int) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    limit = drawn.weight_limit
    plan = make_plan(tensors=drawn.plan.tensors, weight_limit=limit, max_examples=limit)
    entries = [entry_of(folder, plan, tensors, weight, f"c{n}") for n, (tensors, weight) in enumerate(drawn.updates)]
    below, above = entries[:split], entries[split:]
    if below:
        above.append(read_partial(plan, write_partial(plan, below, folder / "below")))
    total = copy_sum(EntrySum(plan.sums, above), plan.sums)
    for name, base in drawn.base:
        of_tensor = reference.plan_of(base, drawn.weight_limit)
        if of_tensor.kind != "kept":
            tensor = next(tensor for tensor in plan.sums.summed if tensor.name == name)
            mean = b"".join(chunk.tobytes() for chunk in total.mean(tensor))
            assert mean == reference.mean(of_tensor, drawn.of(name)), (name, of_tensor)


def test_half_size_updates_and_partials_of_them_go_together(tmp_path: Path) -> None:
    plan = make_plan({"w": np.zeros((2, LONG), np.float32)})
    values = np.linspace(-3, 3, 2 * LONG, dtype=np.float32).reshape(2, LONG).astype(np.float16)
    half = update(tmp_path, plan, {"w": values}, 3, "half")
    whole = update(tmp_path, plan, {"w": values.astype(np.float32)}, 5, "whole")
    both = read_partial(plan, write_partial(plan, [half, whole], tmp_path / "both"))
    third = update(tmp_path, plan, {"w": values.astype(np.float32)}, 8, "third")
    expected = sum_of(plan, [({"w": values.astype(np.float32)}, weight) for weight in (3, 5, 8)])
    assert copy_sum(EntrySum(plan.sums, [third, both]), plan.sums) == expected


# How large it may be


def test_it_is_bounded_by_what_its_members_may_add_up_to(tmp_path: Path) -> None:
    total = EntrySum(PLAN.sums, entries_of(tmp_path))
    for tensor in PLAN.sums.summed:
        found = copy_sum(total, PLAN.sums).bound(tensor)
        assert found <= total.bound(tensor)
        if tensor.kind != "wide":
            assert total.bound(tensor) <= 1.5 * found + 10


def test_it_is_coded_as_narrowly_as_the_check_allows(tmp_path: Path) -> None:
    plan = make_plan({"w": np.full((2, 3), 0.9, np.float32)}, weight_limit=1 << 28)
    entries = [update(tmp_path, plan, {"w": np.full((2, 3), 0.5, np.float32)}, 600, str(n)) for n in range(8)]
    assert [spec.dtype for spec in wire_specs(wire_layout(EntrySum(plan.sums, entries)))] == ["U32", "I8"]
    entries += [update(tmp_path, plan, {"w": np.full((2, 3), 0.5, np.float32)}, 200_000, "heavy")]
    assert [spec.dtype for spec in wire_specs(wire_layout(EntrySum(plan.sums, entries)))] == ["U32", "I16"]


def test_bounds_are_rounded_up() -> None:
    bounds = [0.0, 1.0, 2.0**24 + 1, 2.0**62 - 2.0**20, 1e-300]
    assert all(kept >= bound for kept, bound in zip(rounded_up(bounds).tolist(), bounds, strict=True))


def test_a_file_whose_values_grew_since_its_check_makes_no_partial(tmp_path: Path) -> None:
    plan = make_plan({"w": np.full((2, 3), 0.9, np.float32)})
    entry = update(tmp_path, plan, {"w": np.full((2, 3), 0.001, np.float32)}, 1)
    grown = update_bytes({"w": np.full((2, 3), 1e6, np.float32)}, 1)
    entry.body.path.write_bytes(grown)
    with pytest.raises(OSError, match="'w' is larger than its checked members can add up to"):
        write_partial(plan, [entry], tmp_path / "partial")
    assert not (tmp_path / "partial").exists()


# What cannot be added


@pytest.mark.parametrize("number", range(4))
def test_the_entry_is_named_whose_file_is_gone(tmp_path: Path, number: int) -> None:
    entries = entries_of(tmp_path)
    entries[number].body.path.unlink()
    with pytest.raises(EntryUnreadable) as unreadable:
        EntrySum(PLAN.sums, entries)
    assert unreadable.value.entry is entries[number]
    assert isinstance(unreadable.value.error, FileNotFoundError)


@pytest.mark.parametrize("number", range(4))
def test_the_entry_is_named_whose_file_has_lost_its_end(tmp_path: Path, number: int) -> None:
    entries = entries_of(tmp_path)
    path = entries[number].body.path
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 200)
    with pytest.raises(EntryUnreadable, match="lost its end") as unreadable:
        write_partial(PLAN, entries, tmp_path / "partial")
    assert unreadable.value.entry is entries[number]
    assert not (tmp_path / "partial").exists()


def test_what_has_no_room_is_refused_before_a_file_is_opened() -> None:
    heavy = partial_entry("a", "b", num_examples=PLAN.weight_limit // 2)
    with pytest.raises(WeightLimit, match=str(PLAN.weight_limit)):
        EntrySum(PLAN.sums, [heavy, partial_entry("c", num_examples=1)])


class Crowd(tuple[Contributor, ...]):
    """As many as may be in a round, without the memory that they would take."""

    def __len__(self) -> int:
        return MAX_CONTRIBUTORS


def test_entries_of_more_contributors_than_limbs_bear_are_refused() -> None:
    plan = make_plan(weight_limit=1 << 40)
    many = replace(partial_entry("a"), contributors=Crowd([contributor("a")]))
    with pytest.raises(WeightLimit, match=str(MAX_CONTRIBUTORS)):
        EntrySum(plan.sums, [many, partial_entry("b")])
