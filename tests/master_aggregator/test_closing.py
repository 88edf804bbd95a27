"""When the master's core closes a round: at its threshold, its deadline, its weight limit, or as the operator wants."""

from __future__ import annotations

from collections.abc import Iterable

from fedtier.problems import (
    RoundOver,
    Unavailable,
    WeightLimit,
)
from master_aggregator.coordinator import (
    Action,
    CloseAsked,
    NoteOverdue,
    NotRecorded,
    Offered,
    Opened,
    OverdueNotNoted,
    Recorded,
    StayOpen,
    Tick,
)
from tests.builders import make_plan, noon, partial_entry, update_entry
from tests.master_aggregator.bench import Bench, closed_with, dropped, outcomes, recorded

# Closing.


def test_a_round_closes_at_its_threshold_with_contributors_in_order() -> None:
    bench = Bench(threshold=3)
    assert closed_with(bench.count(1, update_entry("c"))) is None
    assert closed_with(bench.count(2, partial_entry("b", "a"))) == ["a", "b", "c"]
    assert bench.core.state == "publishing"


def test_a_batch_is_counted_whole_even_past_the_threshold() -> None:
    bench = Bench(threshold=2)
    assert closed_with(bench.count(1, partial_entry(*"abcde"))) == list("abcde")


def test_only_one_batch_carries_a_round_past_its_threshold() -> None:
    bench = Bench(threshold=2)
    assert recorded(bench.told(Offered(1, partial_entry("a", "b", "c")))) == [1]
    assert bench.told(Offered(2, partial_entry("d", "e"))) == []
    actions = bench.told(Recorded((1,)))
    assert closed_with(actions) == ["a", "b", "c"]
    assert isinstance(outcomes(actions)[2], RoundOver)


def test_what_waited_for_the_closing_batch_counts_when_that_one_fails() -> None:
    bench = Bench(threshold=2)
    bench.told(Offered(1, partial_entry("a", "b")), Offered(2, partial_entry("c", "d")))
    assert recorded(bench.told(NotRecorded((1,), Unavailable("the disk is full")))) == [2]
    assert closed_with(bench.told(Recorded((2,)))) == ["c", "d"]


def test_closing_waits_for_claims() -> None:
    bench = Bench(threshold=9)
    bench.count(1, update_entry("a"))
    bench.told(Offered(2, update_entry("b")))
    assert closed_with(bench.told(CloseAsked(1))) is None
    assert bench.core.state == "publishing"
    assert closed_with(bench.told(Recorded((2,)))) == ["a", "b"]


def test_a_closing_round_takes_nothing_more() -> None:
    bench = Bench(threshold=9)
    bench.count(1, update_entry("a"))
    bench.told(Offered(2, update_entry("b")), CloseAsked(1))
    late = update_entry("c")
    actions = bench.told(Offered(3, late))
    assert isinstance(outcomes(actions)[3], RoundOver)
    assert dropped(actions) == [late]


def test_nobody_waits_for_ever_when_a_refusal_closes_the_round() -> None:
    limit = 100
    bench = Bench(threshold=9, weight_limit=limit)
    bench.told(Offered(1, partial_entry("a", "b", num_examples=45)))
    bench.told(Offered(2, update_entry("c", 50)), Offered(3, update_entry("a", 5)))
    bench.told(Offered(4, update_entry("d", 20)), Offered(5, update_entry("b", 3)))
    actions = bench.told(Recorded((1,)), CloseAsked(1))
    assert set(outcomes(actions)) == {1, 2, 3, 4, 5}
    assert closed_with(actions) == ["a", "b"]


def test_a_round_closes_once() -> None:
    bench = Bench(threshold=1)
    assert closed_with(bench.count(1, update_entry("a"))) == ["a"]
    assert closed_with(bench.told(CloseAsked(1), Tick(noon()))) is None


def test_the_deadline_closes_a_round_that_has_its_quorum() -> None:
    bench = Bench(threshold=9, min_clients=2, deadline=noon())
    bench.count(1, partial_entry("a", "b"))
    assert closed_with(bench.told(Tick(noon(-1)))) is None
    assert closed_with(bench.told(Tick(noon()))) == ["a", "b"]


def test_past_its_deadline_a_round_waits_for_its_quorum_only() -> None:
    bench = Bench(threshold=9, min_clients=2, deadline=noon())
    bench.count(1, update_entry("a"))
    assert closed_with(bench.told(Tick(noon(1)))) is None
    assert bench.core.state == "collecting"
    assert closed_with(bench.count(2, update_entry("b"))) == ["a", "b"]


def stays_open(actions: Iterable[Action]) -> list[tuple[int, int]]:
    """Return how many are said to be counted, and to be missing."""
    return [(action.counted, action.missing) for action in actions if isinstance(action, StayOpen)]


def test_a_round_says_once_that_it_stays_open_past_its_deadline() -> None:
    bench = Bench(threshold=9, min_clients=3, deadline=noon())
    bench.count(1, update_entry("a"))
    assert stays_open(bench.told(Tick(noon(-1)))) == []
    assert stays_open(bench.told(Tick(noon()))) == [(1, 2)]
    assert stays_open(bench.told(Tick(noon(1)), Tick(noon(2)))) == []
    assert stays_open(bench.count(2, update_entry("b"))) == []
    bench.told(Opened(make_plan(round=2, attempt=2, threshold=9, min_clients=2, deadline=noon(60))))
    assert stays_open(bench.told(Tick(noon(61)))) == [(0, 2)]


def test_a_round_with_its_quorum_at_the_deadline_does_not_say_that_it_stays_open() -> None:
    bench = Bench(threshold=9, min_clients=1, deadline=noon())
    bench.count(1, update_entry("a"))
    assert stays_open(bench.told(Tick(noon()), Tick(noon(1)))) == []


def test_what_is_being_journaled_at_the_deadline_is_counted_before_anything_is_said() -> None:
    bench = Bench(threshold=9, min_clients=2, deadline=noon())
    bench.told(Offered(1, partial_entry("a", "b")))
    assert stays_open(bench.told(Tick(noon()), Recorded((1,)))) == []
    late = Bench(threshold=9, min_clients=2, deadline=noon())
    late.told(Offered(1, partial_entry("a", "b")))
    assert stays_open(late.told(Tick(noon()))) == []
    assert stays_open(late.told(NotRecorded((1,), Unavailable("the disk is full")))) == [(0, 2)]


def test_an_operator_who_closes_a_round_is_not_told_of_its_deadline() -> None:
    bench = Bench(threshold=9, min_clients=2, deadline=noon())
    assert stays_open(bench.told(CloseAsked(1))) == []


def test_the_quorum_never_exceeds_the_threshold() -> None:
    bench = Bench(threshold=1, min_clients=5)
    assert closed_with(bench.count(1, update_entry("a"))) == ["a"]


def test_an_empty_round_does_not_close() -> None:
    bench = Bench(deadline=noon())
    assert closed_with(bench.told(Tick(noon()), CloseAsked(1))) is None
    assert bench.core.state == "collecting"


def test_the_operator_closes_a_round_with_what_is_counted() -> None:
    bench = Bench(threshold=9)
    bench.count(1, update_entry("a"))
    assert closed_with(bench.told(CloseAsked(1))) == ["a"]


def test_the_operator_closes_no_round_but_the_one_that_he_names() -> None:
    bench = Bench(round=2, threshold=9)
    bench.count(1, update_entry("a", number=2))
    assert bench.told(CloseAsked(1), CloseAsked(3)) == []
    assert bench.core.state == "collecting"


def test_that_a_round_closes_early_is_noted_once_before_anyone_hears_of_it() -> None:
    bench = Bench(threshold=9, min_clients=2, weight_limit=100)
    bench.count(1, update_entry("a", 90))
    assert bench.told(Offered(2, update_entry("b", 11))) == [NoteOverdue(bench.plan)]
    assert bench.told(Offered(3, update_entry("c", 12))) == []
    actions = bench.told(CloseAsked(1))
    assert [type(outcome) for outcome in outcomes(actions).values()] == [WeightLimit, WeightLimit]
    assert bench.told(CloseAsked(1)) == []
    assert isinstance(outcomes(bench.told(Offered(4, update_entry("d", 11))))[4], WeightLimit)


def test_where_it_cannot_be_noted_nobody_hears_that_a_round_closes_early_and_it_goes_on() -> None:
    bench = Bench(threshold=9, min_clients=2, weight_limit=100)
    bench.count(1, partial_entry("a", "b", num_examples=40))
    bench.told(Offered(2, update_entry("c", 20)), Offered(3, update_entry("d", 21)), Offered(4, update_entry("c", 19)))
    full = Unavailable("the disk is full")
    actions = bench.told(OverdueNotNoted(1, full))
    assert outcomes(actions) == {3: full}
    assert bench.core.state == "collecting"
    assert closed_with(actions) is None
    assert set(outcomes(bench.told(Recorded((2,))))) == {2, 4}
    assert bench.told(Offered(5, update_entry("d", 21))) == [NoteOverdue(bench.plan)]


def test_a_round_that_closes_otherwise_lets_nobody_wait_for_its_note() -> None:
    bench = Bench(threshold=9, min_clients=2, weight_limit=100, deadline=noon())
    bench.count(1, partial_entry("a", "b", num_examples=40))
    bench.told(Offered(2, update_entry("c", 21)))
    actions = bench.told(Tick(noon()))
    assert closed_with(actions) == ["a", "b"]
    assert isinstance(outcomes(actions)[2], RoundOver)
    assert bench.told(CloseAsked(1)) == []
    assert bench.told(OverdueNotNoted(1, Unavailable("the disk is full"))) == []


def test_the_deadline_is_not_noted_as_it_is_in_the_plan() -> None:
    bench = Bench(threshold=9, deadline=noon())
    assert not [action for action in bench.told(Tick(noon()), CloseAsked(1)) if isinstance(action, NoteOverdue)]


def test_a_new_round_starts_from_nothing() -> None:
    bench = Bench(threshold=1, deadline=noon())
    bench.count(1, update_entry("a"))
    bench.told(CloseAsked(1), Tick(noon()), Opened(make_plan(round=2, attempt=2, threshold=2)))
    assert (bench.core.counted, bench.core.state) == (0, "collecting")
    assert closed_with(bench.count(2, update_entry("a", number=2, attempt=2))) is None


# The weight limit.


def test_a_partial_past_the_weight_limit_closes_the_round_as_at_its_deadline() -> None:
    bench = Bench(threshold=9, min_clients=2, weight_limit=100)
    bench.count(1, partial_entry("a", "b", num_examples=40))
    actions = bench.told(Offered(2, update_entry("c", 21)), CloseAsked(1))
    refusal = outcomes(actions)[2]
    assert isinstance(refusal, WeightLimit)
    assert (refusal.members["round"], refusal.members["attempt"]) == (1, 1)
    assert closed_with(actions) == ["a", "b"]


def test_the_last_example_that_fits_is_counted() -> None:
    bench = Bench(threshold=9, weight_limit=100)
    bench.count(1, update_entry("a", 80))
    assert recorded(bench.told(Offered(2, update_entry("b", 20)))) == [2]


def test_without_a_quorum_the_round_goes_on_after_a_refused_partial() -> None:
    bench = Bench(threshold=9, min_clients=2, weight_limit=100)
    bench.count(1, update_entry("a", 80))
    assert closed_with(bench.told(Offered(2, update_entry("b", 21)), CloseAsked(1))) is None
    assert closed_with(bench.count(3, update_entry("c", 20))) == ["a", "c"]


def test_weight_that_is_only_claimed_refuses_nobody() -> None:
    bench = Bench(threshold=9, weight_limit=100)
    bench.told(Offered(1, update_entry("a", 60)))
    assert bench.told(Offered(2, update_entry("b", 60))) == []
    assert recorded(bench.told(NotRecorded((1,), Unavailable("full")))) == [2]
