from __future__ import annotations

import gc
import hashlib
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedtier.entries import (
    Entry,
    add_entry,
    partial_size_limit,
    read_partial,
    read_update,
    update_size_limit,
)
from fedtier.exact import ExactSum
from fedtier.problems import NotSafetensors, Unavailable, WeightLimit
from fedtier.sum_files import write_partial
from tests.builders import make_plan, partial_bytes, received, safetensors, sum_of, trained, update_bytes

PLAN = make_plan()


def update(folder: Path, seed: int) -> Entry:
    body = received(folder / f"update-{seed}", update_bytes(trained(seed), seed + 1, {"loss": seed}))
    return read_update(PLAN, f"client-{seed}", body)


def partial(folder: Path, *seeds: int) -> Entry:
    members = {f"client-{seed}": (trained(seed), seed + 1) for seed in seeds}
    name = "partial-" + "-".join(map(str, seeds))
    return read_partial(PLAN, received(folder / name, partial_bytes(PLAN, members)))


def total_of(*seeds: int) -> ExactSum:
    return sum_of(PLAN, [(trained(seed), seed + 1) for seed in seeds])


def test_an_update_says_who_stands_in_it(tmp_path: Path) -> None:
    entry = update(tmp_path, 3)
    (contributor,) = entry.contributors
    assert (entry.kind, entry.round, entry.attempt, entry.total_weight) == ("update", 1, 1, 4)
    assert (contributor.client_id, contributor.num_examples, contributor.metrics) == ("client-3", 4, {"loss": 3.0})
    assert contributor.sha256 == hashlib.sha256(entry.body.path.read_bytes()).hexdigest()


def test_updates_and_partials_add_up_to_the_sum_of_their_contributors(tmp_path: Path) -> None:
    total = ExactSum(PLAN.sums)
    for entry in (update(tmp_path, 1), partial(tmp_path, 2, 3), update(tmp_path, 4), partial(tmp_path, 5)):
        add_entry(total, entry)
    assert total == total_of(1, 2, 3, 4, 5)


def test_a_written_partial_is_read_back_as_the_same_sum_and_contributors(tmp_path: Path) -> None:
    entries = [partial(tmp_path, 7, 2), update(tmp_path, 4)]
    body = write_partial(PLAN, entries, tmp_path / "written")
    entry = read_partial(PLAN, body)
    assert [c.client_id for c in entry.contributors] == ["client-2", "client-4", "client-7"]
    assert entry.total_weight == 8 + 3 + 5
    assert body.sha256 == hashlib.sha256((tmp_path / "written").read_bytes()).hexdigest()
    total = ExactSum(PLAN.sums)
    add_entry(total, entry)
    assert total == total_of(7, 2, 4)


def test_a_partial_is_written_over_what_lay_there_and_ends_where_it_ends(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"old" * 10_000)
    written = write_partial(PLAN, [update(tmp_path, 1)], tmp_path / "there")
    new = write_partial(PLAN, [update(tmp_path, 1)], tmp_path / "new")
    assert written.path.read_bytes() == new.path.read_bytes()
    assert written.sha256 == new.sha256


def test_a_body_is_parsed_once(tmp_path: Path) -> None:
    total = ExactSum(PLAN.sums)
    for entry in (update(tmp_path, 1), partial(tmp_path, 2, 3)):
        with entry.body.path.open("r+b") as file:
            file.write(b"\xff" * 8)  # whoever parses it again fails
        add_entry(total, entry)
        assert entry.header is not None
        assert not entry.header.metadata
        with pytest.raises(NotSafetensors):
            add_entry(total, replace(entry, header=None))
    assert total == total_of(1, 2, 3)


def test_a_sum_without_room_is_left_as_it_was(tmp_path: Path) -> None:
    entry = update(tmp_path, 9)
    small = make_plan(weight_limit=9)
    total = ExactSum(small.sums)
    with pytest.raises(WeightLimit):
        add_entry(total, entry)
    assert total == ExactSum(small.sums)


def test_the_size_limits_take_every_valid_body(tmp_path: Path) -> None:
    metrics = '{"loss": 1' + " " * 4000 + "}"
    spaced = update_bytes(trained(1), PLAN.max_examples, metrics)
    assert len(spaced) <= update_size_limit(PLAN)
    assert len(partial_bytes(PLAN, {f"client-{k}": (trained(1), 1) for k in range(100)})) <= partial_size_limit(PLAN)


def test_an_updates_header_cannot_be_longer_than_the_rounds_allows(tmp_path: Path) -> None:
    body = safetensors(trained(1), {"num_examples": "1", "more": "x" * 100_000})
    with pytest.raises(NotSafetensors, match="more than"):
        read_update(PLAN, "a", received(tmp_path / "long", body))


def wild_partial(attempt: int) -> bytes:
    """Return a partial with sums that no updates add up to."""
    wild = {"conv.weight": np.full((2, 3), 1 << 62, np.int64)}
    header = (
        f'{{"attempt":{attempt},"total_weight":1,"contributors":'
        f'[{{"client_id":"a","num_examples":1,"sha256":"{"a" * 64}","metrics":{{}}}}]}}'
    )
    return safetensors(wild, {"partial": header})


def test_a_partial_of_an_attempt_that_is_over_is_read_but_not_judged_by_this_ones_bounds(tmp_path: Path) -> None:
    entry = read_partial(make_plan(attempt=10), received(tmp_path / "wild", wild_partial(9)))
    assert entry.attempt == 9


def test_a_partial_of_an_attempt_that_is_not_known_yet_is_not_taken_unchecked(tmp_path: Path) -> None:
    """Its attempt may have become the open one when it gets to the core, which would have it added."""
    with pytest.raises(Unavailable, match="does not know of that attempt"):
        read_partial(make_plan(attempt=8), received(tmp_path / "wild", wild_partial(9)))


def test_an_update_that_waits_keeps_little_more_than_who_it_is_of(tmp_path: Path) -> None:
    model = {f"layer.{number}.weight": np.zeros((1, 2), np.float32) for number in range(2000)}
    plan = make_plan(model)
    body = received(tmp_path / "update", update_bytes(model))
    read_update(plan, "first", body)  # what all updates of a round share
    tracemalloc.start()
    try:
        entries = [read_update(plan, f"client-{number}", body) for number in range(4)]
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / len(entries) < 16 * len(model), "a reference for each tensor, and no description of its own"
