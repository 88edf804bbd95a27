"""Whom the master's core counts, whom it refuses, and how it goes on after a restart."""

from __future__ import annotations

import pytest

from fedtier.entries import Counted, Entry
from fedtier.problems import (
    AlreadyCounted,
    AttemptOver,
    NotSelected,
    Problem,
    RoundNotOpen,
    RoundOver,
    Unavailable,
)
from master_aggregator.coordinator import (
    CloseAsked,
    Coordinator,
    DropBody,
    NoteOverdue,
    NotRecorded,
    Offered,
    Opened,
    PauseAsked,
    Record,
    Recorded,
    Settle,
    Tick,
)
from tests.builders import contributor, digest_of, make_plan, noon, partial_entry, update_entry
from tests.master_aggregator.bench import Bench, closed_with, dropped, outcomes, recorded

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
