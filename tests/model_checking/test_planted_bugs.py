"""A bug that is planted in a shipped core is found, as what it is: by the claim that it breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from client.participant import Participant
from fedtier.entries import Counted, Entry, Outcome
from fedtier.problems import AlreadyCounted, Problem
from fedtier.rounds import Contributor, RoundPlan, UpdateReceipt
from master_aggregator import coordinator
from master_aggregator.coordinator import Coordinator
from tests.model_checking.claims import (
    ANSWERED,
    CLOSED_ONCE,
    CLOSES,
    COUNTED_ONCE,
    HONEST_PARTIAL,
    NOTHING_LEFT,
    OWN_ROUND,
    PROMISE,
    STAYS_CLOSED,
)
from tests.model_checking.planting import Plant, look, require_found
from tests.model_checking.test_tree import AnyHistory
from worker_aggregator import batch, events
from worker_aggregator.batch import Batcher

# In the master: who is counted already.


def counted_contributors_are_not_looked_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Coordinator, "_known", lambda self, entry: [])


def contributors_that_are_being_journaled_are_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Coordinator, "_is_in_doubt", lambda self, plan, entry: False)


def an_entry_is_confirmed_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    real = Coordinator.handle_event

    def handle_event(self: Coordinator, event: coordinator.Event) -> Any:
        early = self.__dict__.setdefault("_early", set())
        for action in real(self, event):
            if isinstance(action, coordinator.Settle) and action.ticket in early:
                continue
            yield action
            if isinstance(action, coordinator.Record):
                early.add(action.ticket)
                digest = action.entry.contributors[0].sha256
                yield coordinator.Settle(action.ticket, Counted(action.entry.round, action.entry.attempt, digest))

    patch.setattr(Coordinator, "handle_event", lambda self, event: list(handle_event(self, event)))


# In a worker: who goes into which batch.


def overlapping_entries_go_into_one_batch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Batcher, "_clients_in_batches", lambda self: set())


def what_has_a_client_in_common_is_taken_for_a_repeat(patch: pytest.MonkeyPatch) -> None:
    def repeated_by(self: Batcher, entry: Entry) -> int | None:
        waiting = self._unsettled_entries()
        return next((ticket for ticket, other in waiting if other.client_ids & entry.client_ids), None)

    patch.setattr(Batcher, "_repeated_by", repeated_by)


def the_open_batch_outlives_its_round(patch: pytest.MonkeyPatch) -> None:
    def see(self: Batcher, plan: RoundPlan) -> Any:
        self._plan = plan
        return []

    patch.setattr(Batcher, "_see_round", see)


# In a worker: what is taken out of a batch, and who is told what.


def an_entry_that_counts_already_is_only_struck_off(patch: pytest.MonkeyPatch) -> None:
    real = Batcher._take_out

    def take_out(self: Batcher, sent: events.Batch, hit: Mapping[int, Entry], counted: Mapping[str, str]) -> Any:
        for action in real(self, sent, hit, counted):
            if isinstance(action, events.Seal):
                struck = {ticket: replace(entry, contributors=()) for ticket, entry in hit.items()}
                yield events.Seal(replace(action.batch, entries={**action.batch.entries, **struck}))
            elif not isinstance(action, events.DropBody):
                yield action

    patch.setattr(Batcher, "_take_out", take_out)


def of_a_partial_the_client_is_only_struck_off(patch: pytest.MonkeyPatch) -> None:
    real = Batcher._take_out

    def take_out(self: Batcher, sent: events.Batch, hit: Mapping[int, Entry], counted: Mapping[str, str]) -> Any:
        left = {
            ticket: replace(entry, contributors=tuple(c for c in entry.contributors if c.client_id not in counted))
            for ticket, entry in sent.entries.items()
        }
        if all(entry.contributors for entry in left.values()):
            self._flight = replace(sent, batch_id=self._new_id(), entries=left)
            return [events.Discard(), events.Seal(self._flight)]
        return real(self, sent, hit, counted)

    patch.setattr(Batcher, "_take_out", take_out)


def a_repeat_is_told_its_own_digest(patch: pytest.MonkeyPatch) -> None:
    def already(entry: Entry, plan: RoundPlan, counted: Mapping[str, str]) -> Outcome:
        return batch._counted(entry, plan) if entry.kind == "update" else real(entry, plan, counted)

    real = batch._already
    patch.setattr(batch, "_already", already)


def a_partial_that_counts_in_part_is_confirmed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(batch, "_already", lambda entry, plan, counted: batch._counted(entry, plan))


def a_batch_that_counts_in_part_is_confirmed(patch: pytest.MonkeyPatch) -> None:
    real = Batcher._batch_refused

    def refused(self: Batcher, problem: Problem) -> Any:
        return self._batch_counted() if isinstance(problem, AlreadyCounted) else real(self, problem)

    patch.setattr(Batcher, "_batch_refused", refused)


def who_joined_a_wait_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = Batcher._finish

    def finish(self: Batcher, ticket: int, entry: Entry, outcome: Outcome) -> Any:
        self._joined.pop(ticket, None)
        return real(self, ticket, entry, outcome)

    patch.setattr(Batcher, "_finish", finish)


def the_body_of_a_settled_entry_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def finish(self: Batcher, ticket: int, entry: Entry, outcome: Outcome) -> Any:
        return [events.Settle(waiter, outcome) for waiter in (ticket, *self._joined.pop(ticket, []))]

    patch.setattr(Batcher, "_finish", finish)


# In the master: what a restart brings back.


def _opened_otherwise(
    patch: pytest.MonkeyPatch, change: Callable[[tuple[Contributor, ...], bool], tuple[tuple[Contributor, ...], bool]]
) -> None:
    real = Coordinator._open

    def opened(self: Coordinator, plan: RoundPlan, counted: tuple[Contributor, ...], closed: bool) -> None:
        real(self, plan, *change(counted, closed))

    patch.setattr(Coordinator, "_open", opened)


def a_restart_forgets_who_is_counted(patch: pytest.MonkeyPatch) -> None:
    _opened_otherwise(patch, lambda counted, closed: ((), closed))


def a_restart_forgets_the_last_who_was_counted(patch: pytest.MonkeyPatch) -> None:
    _opened_otherwise(patch, lambda counted, closed: (counted[:-1], closed))


def a_restart_ignores_the_close_record(patch: pytest.MonkeyPatch) -> None:
    _opened_otherwise(patch, lambda counted, closed: (counted, False))


# In a client.


def a_client_takes_what_it_is_told_of_one_attempt_for_all(patch: pytest.MonkeyPatch) -> None:
    real = Participant._accepted

    def accepted(self: Participant, receipt: UpdateReceipt, sent: Any) -> Any:
        decision = real(self, receipt, sent)
        self._nothing_left = (receipt.round + 1, 0)
        return decision

    patch.setattr(Participant, "_accepted", accepted)


# A client that believes that it counts does not come again, so a false promise may also keep the round open.
PLANTED: Final[Mapping[Plant, tuple[str, ...]]] = {
    counted_contributors_are_not_looked_up: (COUNTED_ONCE,),
    contributors_that_are_being_journaled_are_not_waited_for: (COUNTED_ONCE,),
    an_entry_is_confirmed_before_it_is_durable: (PROMISE, CLOSES),
    overlapping_entries_go_into_one_batch: (HONEST_PARTIAL,),
    what_has_a_client_in_common_is_taken_for_a_repeat: (PROMISE, CLOSES, ANSWERED),
    the_open_batch_outlives_its_round: (OWN_ROUND,),
    an_entry_that_counts_already_is_only_struck_off: (HONEST_PARTIAL,),
    of_a_partial_the_client_is_only_struck_off: (HONEST_PARTIAL,),
    a_repeat_is_told_its_own_digest: (PROMISE,),
    a_partial_that_counts_in_part_is_confirmed: (PROMISE, CLOSES),
    a_batch_that_counts_in_part_is_confirmed: (PROMISE, CLOSES),
    who_joined_a_wait_is_forgotten: (CLOSES, ANSWERED, NOTHING_LEFT),
    the_body_of_a_settled_entry_is_forgotten: (NOTHING_LEFT,),
    a_restart_forgets_who_is_counted: (COUNTED_ONCE, STAYS_CLOSED, CLOSES),
    a_restart_forgets_the_last_who_was_counted: (COUNTED_ONCE, STAYS_CLOSED, CLOSES),
    a_restart_ignores_the_close_record: (CLOSED_ONCE,),
    a_client_takes_what_it_is_told_of_one_attempt_for_all: (CLOSES,),
}


@pytest.mark.parametrize(("plant", "claims"), PLANTED.items(), ids=[plant.__name__ for plant in PLANTED])
def test_it_is_found(plant: Plant, claims: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    require_found(AnyHistory, claims)


def test_nothing_is_found_in_what_is_shipped() -> None:
    look(AnyHistory, 100)
