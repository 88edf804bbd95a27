"""The mark of a round that closes early names that round and attempt, and no other."""

from __future__ import annotations

from pathlib import Path

from master_aggregator.overdue import OverdueMark
from tests.builders import make_plan


def test_without_a_mark_no_round_is_named(tmp_path: Path) -> None:
    assert not OverdueMark(tmp_path).names(make_plan())


def test_another_process_finds_the_round_and_attempt_that_was_marked_last(tmp_path: Path) -> None:
    OverdueMark(tmp_path).set(make_plan(round=1, attempt=2))
    OverdueMark(tmp_path).set(make_plan(round=3, attempt=12))
    mark = OverdueMark(tmp_path)
    assert mark.names(make_plan(round=3, attempt=12))
    assert not mark.names(make_plan(round=1, attempt=2))
    assert not mark.names(make_plan(round=3, attempt=13))


def test_a_mark_that_a_crash_cut_short_names_no_round(tmp_path: Path) -> None:
    mark = OverdueMark(tmp_path)
    mark.set(make_plan(round=3, attempt=12))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert not any(mark.names(make_plan(round=3, attempt=attempt)) for attempt in (1, 12))
