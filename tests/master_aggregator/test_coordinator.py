from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from fedtier.entries import Counted, Entry, Outcome
from fedtier.problems import (
    AlreadyCounted,
    AttemptOver,
    NotSelected,
    Problem,
    RoundNotOpen,
    RoundOver,
    Unavailable,
    WeightLimit,
)
from master_aggregator.coordinator import (
    Action,
    Close,
    CloseAsked,
    Coordinator,
    DropBody,
    Event,
    NoteOverdue,
    NotRecorded,
    Offered,
    Opened,
    OverdueNotNoted,
    PauseAsked,
    Record,
    Recorded,
    Settle,
    StayOpen,
    Tick,
)
from tests.builders import contributor, digest_of, make_plan, noon, partial_entry, update_entry


class Bench:
    def __init__(self, **plan: Any) -> None:
        self.core = Coordinator()
        self.plan = make_plan(**{"threshold": 3, **plan})
        self.told(Opened(self.plan))

    def told(self, *events: Event) -> list[Action]:
        return [action for event in events for action in self.core.handle_event(event)]

    def count(self, ticket: int, entry: Entry) -> list[Action]:
        """Offer an entry and let it be recorded at once."""
        return self.told(Offered(ticket, entry), Recorded((ticket,)))


def outcomes(actions: Iterable[Action]) -> dict[int, Outcome]:
    settled = [action for action in actions if isinstance(action, Settle)]
    assert len({action.ticket for action in settled}) == len(settled), "a ticket is settled once"
    return {action.ticket: action.outcome for action in settled}


def recorded(actions: Iterable[Action]) -> list[int]:
    return [action.ticket for action in actions if isinstance(action, Record)]


def dropped(actions: Iterable[Action]) -> list[Entry]:
    return [action.entry for action in actions if isinstance(action, DropBody)]


def closed_with(actions: Iterable[Action]) -> list[str] | None:
    closes = [action for action in actions if isinstance(action, Close)]
    assert len(closes) <= 1
    return [c.client_id for c in closes[0].contributors] if closes else None


# Counting.


def test_an_update_is_recorded_before_it_is_counted() -> None:
    bench = Bench()
    entry = update_entry("a")
    assert bench.told(Offered(1, entry)) == [Record(1, entry)]
    assert bench.core.counted == 0
    assert bench.told(Recorded((1,))) == [Settle(1, Counted(1, 1, digest_of("a")))]
    assert bench.core.counted == 1


def test_the_body_of_a_counted_entry_belongs_to_the_journal() -> None:
    assert dropped(Bench().count(1, update_entry("a"))) == []


def test_a_retried_update_is_counted_once_and_told_the_first_digest() -> None:
    bench = Bench()
    bench.count(1, update_entry("a"))
    other = update_entry("a", name="another body")
    assert bench.told(Offered(2, other)) == [Settle(2, Counted(1, 1, digest_of("a"))), DropBody(other)]
    assert bench.core.counted == 1


def test_a_replayed_batch_gets_already_counted_with_the_list() -> None:
    bench = Bench(threshold=9)
    batch = partial_entry("a", "b")
    bench.count(1, batch)
    refusal = outcomes(bench.told(Offered(2, batch)))[2]
    assert isinstance(refusal, AlreadyCounted)
    assert refusal.members == {
        "round": 1,
        "attempt": 1,
        "counted": [{"client_id": c, "sha256": digest_of(c)} for c in ("a", "b")],
    }


def test_a_partial_that_overlaps_is_refused_whole_and_told_whom_to_take_out() -> None:
    bench = Bench(threshold=9)
    bench.count(1, update_entry("b"))
    partial = partial_entry("a", "b", "c")
    actions = bench.told(Offered(2, partial))
    refusal = outcomes(actions)[2]
    assert isinstance(refusal, AlreadyCounted)
    assert [item["client_id"] for item in refusal.members["counted"]] == ["b"]
    assert dropped(actions) == [partial]
    assert bench.core.counted == 1
    assert recorded(bench.told(Offered(3, partial_entry("a", "c")))) == [3]


def test_what_cannot_be_journaled_is_not_counted_and_may_come_again() -> None:
    bench = Bench()
    entry, full = update_entry("a"), Unavailable("the disk is full")
    bench.told(Offered(1, entry))
    assert bench.told(NotRecorded((1,), full)) == [Settle(1, full), DropBody(entry)]
    assert bench.core.counted == 0
    assert recorded(bench.told(Offered(2, entry))) == [2]


# Claims.


def test_an_overlap_with_a_claim_waits_and_is_never_refused_for_it() -> None:
    bench = Bench(threshold=9)
    bench.told(Offered(1, update_entry("a")))
    assert bench.told(Offered(2, partial_entry("a", "b"))) == []
    assert bench.told(Offered(3, update_entry("a"))) == []


def test_a_waiting_overlap_is_judged_by_the_outcome_of_the_claim() -> None:
    bench = Bench(threshold=9)
    bench.told(Offered(1, update_entry("a")), Offered(2, partial_entry("a", "b")))
    settled = outcomes(bench.told(Recorded((1,))))
    assert isinstance(settled[1], Counted)
    assert isinstance(settled[2], AlreadyCounted)


def test_a_waiting_overlap_takes_the_place_of_a_claim_that_failed() -> None:
    bench = Bench(threshold=9)
    bench.told(Offered(1, update_entry("a")), Offered(2, partial_entry("a", "b")))
    actions = bench.told(NotRecorded((1,), Unavailable("the disk is full")))
    assert recorded(actions) == [2]
    assert set(outcomes(actions)) == {1}


def test_a_repeat_of_an_update_being_journaled_is_told_that_it_counted() -> None:
    bench = Bench()
    bench.told(Offered(1, update_entry("a")), Offered(2, update_entry("a", name="second")))
    assert outcomes(bench.told(Recorded((1,)))) == {
        1: Counted(1, 1, digest_of("a")),
        2: Counted(1, 1, digest_of("a")),
    }


def test_entries_of_other_clients_pass_those_that_wait() -> None:
    bench = Bench(threshold=9)
    bench.told(Offered(1, update_entry("a")), Offered(2, partial_entry("a", "b")))
    assert recorded(bench.told(Offered(3, update_entry("c")))) == [3]


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


# What a round does not take.


def test_entries_of_another_round_or_attempt_are_refused_as_what_they_are() -> None:
    bench = Bench(round=5, attempt=7)
    settled = outcomes(
        bench.told(
            Offered(1, update_entry("a", number=4, attempt=6)),
            Offered(2, update_entry("b", number=5, attempt=6)),
            Offered(3, partial_entry("c", number=5, attempt=6)),
            Offered(4, partial_entry("d", number=5, attempt=8)),
            Offered(5, partial_entry("e", number=6, attempt=8)),
        )
    )
    kinds = {ticket: type(outcome) for ticket, outcome in settled.items()}
    assert kinds == {1: RoundOver, 2: Unavailable, 3: AttemptOver, 4: Unavailable, 5: RoundNotOpen}
    for ticket in (1, 3, 5):
        problem = settled[ticket]
        assert isinstance(problem, Problem)
        assert (problem.members["round"], problem.members["attempt"]) == (5, 7)


def test_the_attempt_is_checked_before_anything_else() -> None:
    bench = Bench(attempt=2, threshold=1, cohort=("a",))
    bench.count(1, update_entry("a", attempt=2))
    assert isinstance(outcomes(bench.told(Offered(2, partial_entry("a", "z", attempt=1))))[2], AttemptOver)


@pytest.mark.parametrize("entry", [update_entry("z"), partial_entry("a", "z")])
def test_clients_outside_the_cohort_are_refused(entry: Entry) -> None:
    bench = Bench(cohort=("a", "b"))
    assert isinstance(outcomes(bench.told(Offered(1, entry)))[1], NotSelected)


def test_a_finished_federation_takes_nothing_and_closes_nothing() -> None:
    bench = Bench(round=3, final_round=2, threshold=1, deadline=noon())
    assert bench.core.state == "finished"
    actions = bench.told(Offered(1, update_entry("a", number=3)), CloseAsked(3), Tick(noon()))
    assert isinstance(outcomes(actions)[1], RoundNotOpen)
    assert closed_with(actions) is None


def test_nothing_is_taken_before_a_round_is_open() -> None:
    entry = update_entry("a")
    actions = Coordinator().handle_event(Offered(1, entry))
    assert isinstance(outcomes(actions)[1], Unavailable)
    assert dropped(actions) == [entry]


def test_a_paused_round_takes_nothing_until_it_is_resumed() -> None:
    bench = Bench()
    bench.told(PauseAsked(True))
    assert bench.core.state == "paused"
    assert isinstance(outcomes(bench.told(Offered(1, update_entry("a"))))[1], Unavailable)
    bench.told(PauseAsked(False))
    assert recorded(bench.told(Offered(2, update_entry("a")))) == [2]


def test_a_pause_counts_what_is_being_journaled_and_outlasts_the_round() -> None:
    bench = Bench(threshold=1)
    bench.told(Offered(1, update_entry("a")), PauseAsked(True))
    assert closed_with(bench.told(Recorded((1,)))) == ["a"]
    bench.told(Opened(make_plan(round=2, attempt=2)))
    assert bench.core.state == "paused"


# After a restart.


def test_a_replayed_round_goes_on_where_it_stopped() -> None:
    core = Coordinator()
    core.handle_event(Opened(make_plan(threshold=3), (contributor("a"), contributor("b"))))
    assert core.counted == 2
    repeat = core.handle_event(Offered(1, update_entry("a", name="again")))
    assert outcomes(repeat) == {1: Counted(1, 1, digest_of("a"))}
    core.handle_event(Offered(2, update_entry("c")))
    assert closed_with(core.handle_event(Recorded((2,)))) == ["a", "b", "c"]


def test_a_replayed_round_that_has_its_threshold_closes_at_once() -> None:
    actions = Coordinator().handle_event(Opened(make_plan(threshold=1), (contributor("a"),)))
    assert closed_with(actions) == ["a"]


def test_a_round_that_was_closed_before_the_restart_takes_nothing_and_is_not_closed_again() -> None:
    core = Coordinator()
    assert core.handle_event(Opened(make_plan(threshold=9), (contributor("a"),), closed=True)) == []
    assert core.state == "publishing"
    assert isinstance(outcomes(core.handle_event(Offered(1, update_entry("b"))))[1], RoundOver)
    assert core.handle_event(CloseAsked(1)) == []


def test_the_weight_of_a_replayed_round_counts() -> None:
    core = Coordinator()
    core.handle_event(Opened(make_plan(threshold=9, weight_limit=100), (contributor("a", 90),)))
    assert isinstance(core.handle_event(Offered(1, update_entry("b", 11)))[0], NoteOverdue)
