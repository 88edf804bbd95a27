"""What becomes of the entries of a batch, and who is told what."""

from __future__ import annotations

import pytest

from fedtier.entries import Counted
from fedtier.problems import (
    AlreadyCounted,
    AttemptOver,
    NotSelected,
    OutOfRange,
    Problem,
    RoundOver,
    Unavailable,
    WeightLimit,
)
from tests.builders import digest_of, make_plan, partial_entry, update_entry
from tests.worker_aggregator.batches import PLAN, Bench, dropped, outcomes, sealed
from worker_aggregator.batch import Batcher
from worker_aggregator.events import (
    Batch,
    BatchCounted,
    BatchRefused,
    Discard,
    DropBody,
    LeftOut,
    Offered,
    RoundSeen,
    Seal,
    Settle,
    UploadEnded,
)

COUNTING = {"round": 1, "attempt": 1}


def already(*client_ids: str, sha256: str | None = None) -> BatchRefused:
    counted = [{"client_id": c, "sha256": sha256 or digest_of(c)} for c in client_ids]
    return BatchRefused(AlreadyCounted("some are", **COUNTING, counted=counted))


# Repeats and overlaps.


def test_a_repeat_joins_the_wait_and_its_body_is_dropped(bench: Bench) -> None:
    bench.told(Offered(1, update_entry("a")))
    repeat = update_entry("a", name="again")
    assert bench.told(Offered(2, repeat)) == [DropBody(repeat)]
    settled = outcomes(bench.told(BatchCounted()))
    assert settled == {1: Counted(1, 1, digest_of("a")), 2: Counted(1, 1, digest_of("a"))}


def test_a_repeat_joins_an_update_that_is_not_sent_yet(bench: Bench) -> None:
    bench.hold_open()
    bench.told(Offered(1, update_entry("a")))
    assert bench.told(Offered(2, update_entry("a")))[0] == DropBody(update_entry("a"))
    assert bench.core.unsettled == 1


def test_the_same_partial_joins_and_another_one_with_its_clients_waits(bench: Bench) -> None:
    bench.told(Offered(1, partial_entry("a", "b")))
    same, other = partial_entry("a", "b"), partial_entry("a", "b", name="other")
    assert bench.told(Offered(2, same)) == [DropBody(same)]
    assert bench.told(Offered(3, other)) == []
    actions = bench.told(BatchCounted())
    assert set(outcomes(actions)) == {1, 2}
    assert [set(batch.entries) for batch in sealed(actions)] == [{3}]


def test_a_partial_that_overlaps_the_open_batch_goes_into_the_next(bench: Bench) -> None:
    bench.hold_open()
    bench.told(Offered(1, update_entry("a")))
    actions = bench.told(Offered(2, partial_entry("a", "b")))
    assert [set(batch.entries) for batch in sealed(actions)] == [{1}]
    assert [set(batch.entries) for batch in sealed(bench.told_and_quiet(BatchCounted(), UploadEnded(99)))] == [{2}]


def test_a_later_entry_does_not_overtake_one_of_the_same_client(bench: Bench) -> None:
    bench.told(Offered(1, update_entry("a")))  # in flight
    bench.told(Offered(2, partial_entry("a", "b")))  # waits for it
    assert bench.told(Offered(3, update_entry("b"))) == []  # waits for the partial


def test_the_contributors_of_a_batch_are_disjoint(bench: Bench) -> None:
    bench.hold_open()
    offers = [update_entry("a"), partial_entry("b", "c"), partial_entry("c", "d"), update_entry("b")]
    batches = sealed(bench.told(*(Offered(ticket, entry) for ticket, entry in enumerate(offers))))
    batches += sealed(bench.told_and_quiet(UploadEnded(99)))
    for _ in range(3):
        batches += sealed(bench.told(BatchCounted()))
    assert sum(len(batch.entries) for batch in batches) == 4
    for batch in batches:
        listed = [client_id for entry in batch.entries.values() for client_id in entry.client_ids]
        assert len(listed) == len(set(listed))


# What the upstream answers.


def test_a_counted_batch_settles_its_entries_and_drops_their_bodies_once(bench: Bench) -> None:
    bench.hold_open()
    entries = {1: update_entry("a"), 2: partial_entry("b", "c")}
    bench.told_and_quiet(*(Offered(ticket, entry) for ticket, entry in entries.items()), UploadEnded(99))
    actions = bench.told(BatchCounted())
    assert actions[0] == Discard()
    assert outcomes(actions) == {1: Counted(1, 1, digest_of("a")), 2: Counted(1, 1, digest_of("b"))}
    assert dropped(actions) == list(entries.values())
    assert bench.core.unsettled == 0


def test_what_counted_already_is_left_out_and_the_rest_sent_under_a_new_id(bench: Bench) -> None:
    bench.hold_open()
    a, b = update_entry("a"), update_entry("b")
    first = sealed(bench.told_and_quiet(Offered(1, a), Offered(2, b), UploadEnded(99)))[0]
    actions = bench.told(already("a", sha256="f" * 64))
    rest = Batch("batch-2", PLAN, {2: b})
    assert actions == [Discard(), Settle(1, Counted(1, 1, "f" * 64)), DropBody(a), Seal(rest)]
    assert rest.batch_id != first.batch_id
    assert outcomes(bench.told(BatchCounted())) == {2: Counted(1, 1, digest_of("b"))}


def test_bodies_that_are_added_up_again_are_not_dropped_before_the_answer(bench: Bench) -> None:
    bench.hold_open()
    bench.told_and_quiet(Offered(1, update_entry("a")), Offered(2, update_entry("b")), UploadEnded(99))
    assert dropped(bench.told(already("a"))) == [update_entry("a")]
    assert dropped(bench.told(BatchCounted())) == [update_entry("b")]


def test_a_childs_partial_is_taken_out_whole_and_told_which_clients_counted(bench: Bench) -> None:
    bench.hold_open()
    child, update = partial_entry("a", "b", "c"), update_entry("d")
    bench.told_and_quiet(Offered(1, child), Offered(2, update), UploadEnded(99))
    actions = bench.told(already("b"))
    assert (actions[0], actions[-1]) == (Discard(), Seal(Batch("batch-2", PLAN, {2: update})))
    refusal = outcomes(actions)[1]
    assert isinstance(refusal, AlreadyCounted)
    assert refusal.members == {**COUNTING, "counted": [{"client_id": "b", "sha256": digest_of("b")}]}


def test_a_batch_that_counted_whole_settles_everyone(bench: Bench) -> None:
    bench.hold_open()
    a, child = update_entry("a"), partial_entry("b", "c")
    bench.told_and_quiet(Offered(1, a), Offered(2, child), UploadEnded(99))
    actions = bench.told(already("a", "b", "c"))
    assert actions[0] == Discard()
    assert outcomes(actions)[1] == Counted(1, 1, digest_of("a"))
    assert isinstance(outcomes(actions)[2], AlreadyCounted)
    assert dropped(actions) == [a, child]
    assert bench.core.unsettled == 0


def test_those_who_joined_a_counted_update_are_told_the_first_digest(bench: Bench) -> None:
    bench.told(Offered(1, update_entry("a")), Offered(2, update_entry("a", name="other")))
    settled = outcomes(bench.told(already("a", sha256="e" * 64)))
    assert settled == {1: Counted(1, 1, "e" * 64), 2: Counted(1, 1, "e" * 64)}


@pytest.mark.parametrize("counted", [[{"client_id": "z", "sha256": "f" * 64}], [], None, "a", [None], [{"sha256": 1}]])
def test_a_refusal_that_names_none_of_the_batch_ends_it(bench: Bench, counted: object) -> None:
    bench.told(Offered(1, update_entry("a")))
    actions = bench.told(BatchRefused(AlreadyCounted("some", **COUNTING, counted=counted)))
    assert isinstance(outcomes(actions)[1], Unavailable)
    assert dropped(actions) == [update_entry("a")]


def test_round_over_is_relayed_with_the_round_of_now(bench: Bench) -> None:
    bench.told(Offered(1, update_entry("a")))
    problem = RoundOver("closed", round=2, attempt=5)
    assert outcomes(bench.told(BatchRefused(problem))) == {1: problem}


def test_weight_limit_is_relayed(bench: Bench) -> None:
    bench.told(Offered(1, update_entry("a")))
    problem = WeightLimit("full", **COUNTING)
    assert outcomes(bench.told(BatchRefused(problem))) == {1: problem}


def test_a_new_attempt_sends_clients_again_and_relays_to_workers(bench: Bench) -> None:
    bench.hold_open()
    bench.told_and_quiet(Offered(1, update_entry("a")), Offered(2, partial_entry("b")), UploadEnded(99))
    problem = AttemptOver("started over", round=1, attempt=2, other="member")
    settled = outcomes(bench.told(BatchRefused(problem)))
    assert isinstance(settled[1], Unavailable)
    relayed = settled[2]
    assert isinstance(relayed, AttemptOver)
    assert (relayed.members["round"], relayed.members["attempt"]) == (1, 2)


def test_any_other_refusal_of_a_batch_is_no_fault_of_its_clients(bench: Bench) -> None:
    bench.told(Offered(1, update_entry("a")))
    outcome = outcomes(bench.told(BatchRefused(OutOfRange("the worker's fault"))))[1]
    assert isinstance(outcome, Unavailable)
    assert outcome.retry_after is not None


def test_an_answer_to_no_batch_changes_nothing(bench: Bench) -> None:
    assert bench.told(BatchCounted(), BatchRefused(Unavailable("late"))) == []


# Rounds and attempts.


def test_a_newer_attempt_drops_the_open_batch(bench: Bench) -> None:
    bench.hold_open()
    update, partial = update_entry("a"), partial_entry("b")
    bench.told(Offered(1, update), Offered(2, partial))
    actions = bench.told(RoundSeen(make_plan(attempt=2)))
    assert dropped(actions) == [update, partial]
    assert isinstance(outcomes(actions)[1], Unavailable)
    assert isinstance(outcomes(actions)[2], AttemptOver)
    assert bench.core.unsettled == 0


def test_a_newer_round_says_round_over_and_leaves_the_batch_in_flight(bench: Bench) -> None:
    bench.told(Offered(1, update_entry("a")), Offered(2, update_entry("b")))
    actions = bench.told(RoundSeen(make_plan(round=2, attempt=2)))
    assert set(outcomes(actions)) == {2}
    assert isinstance(outcomes(actions)[2], RoundOver)
    assert outcomes(bench.told(BatchCounted())) == {1: Counted(1, 1, digest_of("a"))}


def test_an_older_round_changes_nothing(bench: Bench) -> None:
    bench.told(RoundSeen(make_plan(round=3, attempt=7)))
    assert bench.told(RoundSeen(make_plan(round=2, attempt=9)), RoundSeen(make_plan(round=3, attempt=6))) == []


def test_a_client_may_send_again_while_its_old_batch_is_in_flight(bench: Bench) -> None:
    bench.told(Offered(1, update_entry("a")))
    bench.told(RoundSeen(make_plan(attempt=2)))
    again = update_entry("a", attempt=2)
    assert bench.told(Offered(2, again)) == []
    assert bench.told(Offered(3, again)) == [DropBody(again)]


def test_entries_of_another_round_or_attempt_are_refused_as_what_they_are(bench: Bench) -> None:
    bench.told(RoundSeen(make_plan(round=5, attempt=7)))
    settled = outcomes(
        bench.told(
            Offered(1, update_entry("a", number=4, attempt=6)),
            Offered(2, update_entry("b", number=5, attempt=6)),
            Offered(3, partial_entry("c", number=5, attempt=6)),
            Offered(4, partial_entry("d", number=5, attempt=8)),
            Offered(5, update_entry("e", number=6, attempt=8)),
        )
    )
    kinds = {ticket: type(outcome) for ticket, outcome in settled.items()}
    assert kinds == {1: RoundOver, 2: Unavailable, 3: AttemptOver, 4: Unavailable, 5: Unavailable}
    for ticket in (1, 3):
        problem = settled[ticket]
        assert isinstance(problem, Problem)
        assert (problem.members["round"], problem.members["attempt"]) == (5, 7)


def test_nothing_is_taken_before_a_round_is_known() -> None:
    fresh = Batcher(batch_max=1, batch_age=1.0, new_id=lambda: "id")
    actions = fresh.handle_event(Offered(1, update_entry("a")), 0.0)
    assert isinstance(outcomes(actions)[1], Unavailable)
    assert dropped(actions) == [update_entry("a")]


def test_a_partial_with_a_client_that_is_not_selected_harms_no_other() -> None:
    bench = Bench()
    bench.told(RoundSeen(make_plan(attempt=2, cohort=("a", "b"))))
    actions = bench.told(
        Offered(1, partial_entry("a", "stranger", attempt=2)), Offered(2, update_entry("b", attempt=2))
    )
    assert isinstance(outcomes(actions)[1], NotSelected)
    assert [set(batch.entries) for batch in sealed(actions)] == [{2}]


# Entries that cannot be read.


def test_an_entry_that_cannot_be_read_leaves_the_batch_in_flight(bench: Bench) -> None:
    bench.hold_open()
    a = update_entry("a")
    bench.told_and_quiet(Offered(1, a), Offered(2, update_entry("b")), UploadEnded(99))
    problem = Unavailable("the disk")
    assert bench.told(LeftOut(1, problem)) == [Settle(1, problem), DropBody(a)]
    assert set(outcomes(bench.told(BatchCounted()))) == {2}


def test_a_batch_of_which_nothing_could_be_read_ends(bench: Bench) -> None:
    bench.told(Offered(1, update_entry("a")))
    bench.told(LeftOut(1, Unavailable("the disk")))
    assert outcomes(bench.told(BatchRefused(Unavailable("nothing to send")))) == {}
    assert bench.core.unsettled == 0


def test_an_entry_that_is_left_out_of_no_batch_changes_nothing(bench: Bench) -> None:
    bench.hold_open()
    bench.told(Offered(1, update_entry("a")))
    assert bench.told(LeftOut(1, Unavailable("the disk"))) == []
    assert bench.core.unsettled == 1
