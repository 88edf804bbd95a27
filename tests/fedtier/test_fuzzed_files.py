"""Mutated updates and partials are read or refused, in memory and with sentences in proportion to the file.

`FEDTIER_FUZZ_EXAMPLES=20000 pytest tests/fedtier/test_fuzzed_files.py --timeout=0` looks at so many of each.
"""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from fedtier.entries import Entry, Received, add_entry, read_partial, read_update
from fedtier.entry_sums import EntrySum
from fedtier.exact import ExactSum
from fedtier.problems import (
    BadRequest,
    DuplicateContributors,
    NotFinite,
    NotSafetensors,
    OutOfRange,
    Problem,
    SchemaMismatch,
    Unavailable,
)
from tests.builders import make_plan, partial_bytes, received, sum_of, trained, update_bytes
from tests.fedtier.models import copy_sum
from tests.hostile.make import hostile_files
from tests.hostile.mutations import mutated

EXAMPLES: Final = int(os.environ.get("FEDTIER_FUZZ_EXAMPLES", "400"))
PLAN: Final = make_plan(attempt=2)
UPDATES: Final = [
    update_bytes(trained(1), 10, {"loss": 0.5, "accuracy": 1}),
    update_bytes(dict(reversed(trained(2).items())), PLAN.max_examples),
]
PARTIALS: Final = [
    partial_bytes(PLAN, {f"client-{k}": (trained(k), k) for k in (1, 2, 3)}),
    partial_bytes(PLAN, {"a": (trained(7), 1)}, header={"attempt": PLAN.attempt - 1}),
]
REFUSALS: Final = (NotSafetensors, SchemaMismatch, NotFinite, OutOfRange, BadRequest, DuplicateContributors)
MOST_OF_A_READER: Final = 2 << 20
"""Bytes of buffers that a reader takes for any file."""
MOST_PER_BYTE: Final = 64


def read(path: Path, data: bytes, reader: Callable[[Received], Entry]) -> Entry | None:
    """Read a file; what is refused is refused with one of the problems of an upload, in a short sentence."""
    body = received(path, data)
    try:
        return reader(body)
    except (*REFUSALS, Unavailable) as problem:
        if isinstance(problem, Unavailable):  # comes again, when the server knows of that attempt
            assert reader is partial_of
            assert attempt_of(data) > PLAN.attempt
        document = json.dumps(problem.document())
    assert len(document) < 4000
    return None


def attempt_of(data: bytes) -> int:
    """Return the attempt that a partial says it is of."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return int(json.loads(header["__metadata__"]["partial"])["attempt"])


def update_of(body: Received) -> Entry:
    return read_update(PLAN, "client-1", body)


def partial_of(body: Received) -> Entry:
    return read_partial(PLAN, body)


def assert_adds(entry: Entry) -> None:
    """Check that what was accepted adds the same to a sum in memory and to one of files, and no more than it said."""
    assert 1 <= entry.total_weight <= PLAN.weight_limit
    assert entry.attempt <= PLAN.attempt
    if entry.attempt < PLAN.attempt:
        return  # is not going to be added
    total = sum_of(PLAN, [(trained(9), 9)])
    add_entry(total, entry)
    assert total != sum_of(PLAN, [(trained(9), 9)])
    alone, of_files = sum_of(PLAN, []), EntrySum(PLAN.sums, [entry])
    add_entry(alone, entry)
    assert copy_sum(of_files, PLAN.sums) == alone
    assert all(alone.bound(tensor) <= of_files.bound(tensor) for tensor in PLAN.sums.summed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


@given(mutated(UPDATES + PARTIALS[:1]))
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
def test_a_mutated_update_is_read_or_refused(folder: Path, data: bytes) -> None:
    entry = read(folder / "update", data, update_of)
    if entry is not None:
        assert_adds(entry)


@given(mutated(PARTIALS + UPDATES[:1]))
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
def test_a_mutated_partial_is_read_or_refused(folder: Path, data: bytes) -> None:
    entry = read(folder / "partial", data, partial_of)
    if entry is not None:
        assert_adds(entry)


@given(st.one_of(mutated(UPDATES + PARTIALS), st.sampled_from([hostile.data for hostile in hostile_files().values()])))
@settings(max_examples=EXAMPLES // 2, derandomize=True, deadline=None)
def test_reading_takes_memory_in_proportion_to_the_file(folder: Path, data: bytes) -> None:
    tracemalloc.start()
    try:
        for reader in (update_of, partial_of):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            read(folder / "file", data, reader)
            assert tracemalloc.get_traced_memory()[1] - before < MOST_OF_A_READER + MOST_PER_BYTE * len(data)
    finally:
        tracemalloc.stop()


@given(st.lists(mutated(UPDATES), min_size=1, max_size=4))
@settings(max_examples=EXAMPLES // 8, derandomize=True, deadline=None)
def test_what_is_accepted_adds_up_alike_in_any_order(folder: Path, files: list[bytes]) -> None:
    total = ExactSum(PLAN.sums)
    accepted = [entry for number, data in enumerate(files) if (entry := read(folder / str(number), data, update_of))]
    for entry in accepted:
        add_entry(total, entry)
    assert not accepted or copy_sum(EntrySum(PLAN.sums, accepted[::-1]), PLAN.sums) == total


@pytest.mark.parametrize("data", UPDATES)
def test_the_updates_that_are_mutated_are_good(tmp_path: Path, data: bytes) -> None:
    assert update_of(received(tmp_path / "good", data)).kind == "update"


@pytest.mark.parametrize("data", PARTIALS)
def test_the_partials_that_are_mutated_are_good(tmp_path: Path, data: bytes) -> None:
    assert partial_of(received(tmp_path / "good", data)).kind == "partial"


@pytest.mark.parametrize("wanted", ["update", "partial", *REFUSALS])
def test_an_acceptance_and_every_kind_of_refusal_is_reached(folder: Path, wanted: object) -> None:
    """Check that the mutations get past the header: or they would try nothing but the first check."""

    def is_reached(data: bytes) -> bool:
        for reader in (update_of, partial_of):
            try:
                outcome: object = reader(received(folder / "looked-at", data)).kind
            except Problem as problem:
                outcome = type(problem)
            if outcome == wanted:
                return True
        return False

    looking = settings(max_examples=20_000, deadline=None, database=None, phases=[Phase.generate])
    find(mutated(UPDATES + PARTIALS), is_reached, settings=looking, random=Random(0))
