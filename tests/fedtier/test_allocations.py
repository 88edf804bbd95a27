"""Sums are folded, checked, merged, coded and divided in small pieces: what it takes does not grow with the model."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from fedtier.bounds import check_sum
from fedtier.dtypes import Array
from fedtier.entries import add_entry, read_partial, read_update
from fedtier.entry_sums import EntrySum
from fedtier.exact import ExactSum
from fedtier.kinds import CHUNK, check_update
from fedtier.rounds import RoundPlan
from fedtier.sum_files import partial_metadata, write_sum
from fedtier.tensors import TensorFile
from fedtier.upstream import file_sha256
from fedtier.wire import wire_layout, wire_windows
from master_aggregator.planning import plan_tensors
from master_aggregator.server_update import write_mean
from tests.builders import make_plan, received, update_bytes

PIECE: Final = CHUNK * 8
"""Bytes of a buffer of the arithmetic: so many numbers as int64 or float64."""
SMALL, LARGE = 8 * CHUNK, 20 * CHUNK
"""Numbers in the large tensor of a model, of which each takes 2 to 8 bytes."""


@dataclass(frozen=True)
class Round:
    """A round of a model with one large tensor, and an update and a partial of it on disk."""

    plan: RoundPlan
    folder: Path
    update: dict[str, Array]
    total: ExactSum


def make_round(folder: Path, dtype: str, elements: int) -> Round:
    folder.mkdir()
    rng = np.random.default_rng(elements)
    weight: Array
    if dtype == "int64":
        weight = rng.integers(-1000, 1000, elements)
    else:
        weight = rng.standard_normal(elements, np.float32).astype(dtype)
    update = {"weight": weight.reshape(2, -1), "bias": np.zeros(10, np.float32)}
    plan = make_plan(update)
    total = ExactSum(plan.sums)
    total.fold(update, 10)
    return Round(plan, folder, update, total)


def peak(work: Callable[[], object]) -> int:
    """Return the most bytes that Python and NumPy held while something was done, beyond those before."""
    with ExitStack() as stack:
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        work()
        return tracemalloc.get_traced_memory()[1] - before


def fold(case: Round) -> int:
    return peak(lambda: case.total.fold(case.update, 10))


def merge(case: Round) -> int:
    other = ExactSum(case.plan.sums)
    other.fold(case.update, 10)
    return peak(lambda: case.total.merge(other))


def check_an_update(case: Round) -> int:
    return peak(lambda: check_update(case.plan.sums, case.update))


def check_a_sum(case: Round) -> int:
    return peak(lambda: check_sum(case.plan.sums, case.total))


def take_a_mean(case: Round) -> int:
    return peak(lambda: [None for tensor in case.plan.sums.summed for _ in case.total.mean(tensor)])


def code(case: Round) -> int:
    def coded() -> None:
        for wire in wire_layout(case.total):
            for _ in wire_windows(case.total, wire):
                pass

    return peak(coded)


def clear(case: Round) -> int:
    return peak(lambda: case.total.clear(case.plan.sums))


def take_in_an_update(case: Round) -> int:
    """Check an update's file, and add it."""
    body = received(case.folder / "update", update_bytes(case.update))

    def taken() -> None:
        entry = read_update(case.plan, "a", body)
        add_entry(case.total, entry)

    return peak(taken)


def add_up_entries(case: Round) -> int:
    """Add up updates that lie in files, where the sum in memory takes as much as the model twice."""
    body = received(case.folder / "update", update_bytes(case.update))
    entries = [read_update(case.plan, client_id, body) for client_id in "abc"]

    def added_up() -> None:
        total = EntrySum(case.plan.sums, entries)
        for tensor in case.plan.sums.summed:
            for start in range(0, tensor.sum_length, CHUNK):
                total.read(tensor, start, min(start + CHUNK, tensor.sum_length))

    return peak(added_up)


def pass_on_a_partial(case: Round) -> int:
    """Write a partial, check its file, and add it."""
    entry = read_update(case.plan, "a", received(case.folder / "update", update_bytes(case.update)))
    sealed, above = EntrySum(case.plan.sums, [entry]), ExactSum(case.plan.sums)

    def passed() -> None:
        body = write_sum(sealed, case.folder / "partial", partial_metadata([entry], case.plan.attempt))
        add_entry(above, read_partial(case.plan, body))

    return peak(passed)


def write_the_model(case: Round) -> int:
    base = received(case.folder / "base", update_bytes(case.update)).path

    def written() -> None:
        with (case.folder / "model").open("wb") as file:
            write_mean(case.total, base, file)

    return peak(written)


def plan_the_next_round(case: Round) -> int:
    model = received(case.folder / "model", update_bytes(case.update)).path
    return peak(lambda: plan_tensors(model, case.plan.weight_limit))


def hash_a_file(case: Round) -> int:
    body = received(case.folder / "update", update_bytes(case.update)).path
    return peak(lambda: file_sha256(body))


WORK: Final[Mapping[Callable[[Round], int], float]] = {
    fold: 0.1,
    merge: 0.1,
    check_an_update: 0.1,
    check_a_sum: 0.1,
    clear: 0.1,
    take_in_an_update: 1.1,
    plan_the_next_round: 1.1,
    hash_a_file: 0.6,
    code: 1.5,
    pass_on_a_partial: 2.6,
    add_up_entries: 5.1,
    take_a_mean: 5.5,
    write_the_model: 9.5,
}
"""What may be held at once meanwhile, in pieces: next to nothing where the sum's own buffers serve."""
READ_BEHIND: Final = {write_the_model}
"""Where a thread takes up what another left: how many pieces lie between them depends on who is faster."""


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64"])
@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_what_it_takes_does_not_grow_with_the_model(work: Callable[[Round], int], dtype: str, tmp_path: Path) -> None:
    small, large = (work(make_round(tmp_path / str(elements), dtype, elements)) for elements in (SMALL, LARGE))
    assert large <= WORK[work] * PIECE
    if work not in READ_BEHIND:
        assert large - small <= PIECE // 10


def folded_whole(case: Round) -> int:
    return peak(lambda: case.total.fold({name: array.copy() for name, array in case.update.items()}, 10))


def read_whole(case: Round) -> int:
    path = received(case.folder / "update", update_bytes(case.update)).path

    def read() -> dict[str, Array]:
        file = TensorFile(path)
        return {name: file.array(name).astype(np.float64) for name in case.update}

    return peak(read)


@pytest.mark.parametrize("work", [folded_whole, read_whole], ids=lambda work: work.__name__)
def test_a_copy_of_the_model_is_found(work: Callable[[Round], int], tmp_path: Path) -> None:
    small, large = (work(make_round(tmp_path / str(elements), "float32", elements)) for elements in (SMALL, LARGE))
    assert large - small > PIECE
    assert large > max(WORK.values()) * PIECE
