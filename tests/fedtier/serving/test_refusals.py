from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.problems import NAMES
from fedtier.serving.refusals import HEADER, MAX_REPORTED, Refusals, read_report, write_report


def test_counts_add_up_until_they_are_taken() -> None:
    refusals = Refusals()
    refusals.add({"round-over": 2})
    refusals.add({"round-over": 1, "not-finite": 4})

    assert refusals.take() == {"round-over": 3, "not-finite": 4}
    assert refusals.take() == {}


def test_a_report_reads_as_the_protocol_says() -> None:
    assert write_report({"round-over": 2, "not-selected": 1}) == {HEADER: "not-selected=1, round-over=2"}
    assert write_report({}) == {}


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), st.integers(1, MAX_REPORTED)))
def test_a_report_is_read_as_it_was_written(refused: dict[str, int]) -> None:
    assert read_report(write_report(refused).get(HEADER)) == refused


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", ",", "round-over", "round-over=", "=1", "round-over=0", "round-over=-1", "round-over=1.5"),
        *("round-over=1,", "round-over=1 not-selected=2", "round-over=1, round-over=2", "Round-Over=1", "a=b"),
        *(f"round-over={MAX_REPORTED + 1}", "round-over=99999999999999999999", "ä=1", "a/b=1", "a" * 41 + "=1"),
        "round-over=1, nonsense",
    ],
)
def test_a_malformed_report_says_nothing(text: str | None) -> None:
    assert read_report(text) == {}


@given(st.text(max_size=100))
def test_no_report_is_an_error(text: str) -> None:
    assert all(number > 0 for number in read_report(text).values())


def test_made_up_reasons_are_not_counted() -> None:
    made_up = ", ".join(f"{'a' * (number + 1)}=1" for number in range(39))

    assert read_report(made_up) == {}
    assert read_report(f"{made_up}, round-over=3") == {"round-over": 3}


def test_a_count_has_an_upper_bound_that_a_report_can_hold() -> None:
    refusals = Refusals()
    for _ in range(3):
        refusals.add({"round-over": MAX_REPORTED})

    assert read_report(write_report(refusals.take())[HEADER]) == {"round-over": MAX_REPORTED}
