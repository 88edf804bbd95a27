"""What is said of refusals: soon, seldom, and never less than there was."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fedtier.serving.tally import ADDRESSES, LINES, WINDOW, LineBudget, Summary, Tally


def test_the_first_refusal_of_a_reason_is_told_at_once() -> None:
    said = Tally().add("unauthenticated", "10.0.0.1", "no token", 5.0)
    assert said == Summary("unauthenticated", 1, 1, "10.0.0.1", 1, "no token")


def test_a_flood_is_one_line_in_ten_seconds_with_its_busiest_address() -> None:
    tally = Tally()
    lines = []
    for number in range(20_000):  # 2,000 in a second
        address = "10.0.0.66" if number % 4 else f"10.0.1.{number % 8}"
        lines.append(tally.add("unauthenticated", address, f"token {number}", number / 2000))
    said = [line for line in lines if line is not None]
    assert [line.number for line in said] == [1]
    (summary,) = tally.due(WINDOW)
    assert summary == Summary("unauthenticated", 19_999, 3, "10.0.0.66", 15_000, "token 1")
    assert tally.due(3 * WINDOW) == []


def test_reasons_do_not_wait_for_each_other() -> None:
    tally = Tally()
    assert tally.add("forbidden", "a", "", 0.0) is not None
    assert tally.add("too-large", "a", "", 1.0) is not None
    assert tally.add("forbidden", "a", "", 2.0) is None
    assert tally.next_due() == WINDOW


def test_more_addresses_than_are_told_apart_take_no_more_room() -> None:
    tally = Tally()
    tally.add("forbidden", "first", "", 0.0)
    for number in range(5 * ADDRESSES):
        tally.add("forbidden", str(number), "x" * 10_000, 1.0)
    (summary,) = tally.due(WINDOW)
    assert (summary.number, summary.addresses, len(summary.example)) == (5 * ADDRESSES, ADDRESSES, 200)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 4))))
def test_every_refusal_is_told_once_and_lines_keep_their_distance(steps: list[tuple[str, float]]) -> None:
    tally, now = Tally(), 0.0
    told: list[tuple[str, float, int]] = []
    for reason, pause in steps:
        now += pause
        told += [(summary.reason, now, summary.number) for summary in tally.due(now)]
        said = tally.add(reason, "address", "", now)
        told += [(said.reason, now, said.number)] if said else []
    told += [(summary.reason, now + WINDOW, summary.number) for summary in tally.due(now + WINDOW)]
    assert tally.next_due() is None
    for reason in "ab":
        times = [at for name, at, _ in told if name == reason]
        assert sum(number for name, _, number in told if name == reason) == sum(r == reason for r, _ in steps)
        assert all(later - sooner >= WINDOW - 1e-9 for sooner, later in pairwise(times))


def test_one_client_has_one_line_in_a_window_and_all_have_no_more_than_fit() -> None:
    budget = LineBudget()
    assert [budget.allows("client-0", 100.0) for _ in range(3)] == [True, False, False]
    assert sum(budget.allows(f"client-{number}", 101.0) for number in range(1000)) == LINES - 1
    assert budget.allows("client-0", 100.0 + WINDOW)
