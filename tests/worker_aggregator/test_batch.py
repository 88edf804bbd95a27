"""When a worker sends a batch, and what is in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedtier.entries import Entry
from fedtier.kinds import TensorPlan
from fedtier.partial_headers import contributor_bytes, contributors_room
from tests.builders import make_plan, partial_entry, update_entry
from tests.worker_aggregator.batches import PLAN, Bench, outcomes, sealed
from worker_aggregator.events import (
    Batch,
    BatchCounted,
    BytesCame,
    Offered,
    RoundSeen,
    Seal,
    Tick,
    UploadEnded,
)


def wordy(client_id: str, size: int) -> Entry:
    """Return a partial whose contributor takes so many bytes of a header."""
    entry = partial_entry(client_id)
    (who,) = entry.contributors
    frame = contributor_bytes(who.model_copy(update={"metrics": {"": 0.0}}))
    return replace(entry, contributors=(who.model_copy(update={"metrics": {"m" * (size - frame): 0.0}}),))


def test_an_update_is_sent_at_once_when_nothing_else_comes_in(bench: Bench) -> None:
    entry = update_entry("a")
    assert bench.told(Offered(1, entry)) == [Seal(Batch("batch-1", PLAN, {1: entry}))]


def test_nothing_is_settled_before_the_upstream_answers(bench: Bench) -> None:
    assert outcomes(bench.told(Offered(1, update_entry("a")), Tick())) == {}
    assert bench.core.unsettled == 1


def test_a_batch_waits_for_an_upload_that_is_coming_in(bench: Bench) -> None:
    bench.hold_open()
    assert not sealed(bench.told(Offered(1, update_entry("a"))))
    assert [set(batch.entries) for batch in sealed(bench.told_and_quiet(UploadEnded(99)))] == [{1}]


def test_the_update_that_a_batch_waited_for_is_in_it(bench: Bench) -> None:
    bench.told(BytesCame(1), BytesCame(2))
    bench.told(Offered(1, update_entry("a"), 1), UploadEnded(1))
    actions = bench.told_and_quiet(Offered(2, update_entry("b"), 2), UploadEnded(2))
    assert [set(batch.entries) for batch in sealed(actions)] == [{1, 2}]


def test_updates_that_come_shortly_after_one_another_are_sent_together(bench: Bench) -> None:
    for ticket, client in enumerate("abc"):
        bench.now += 0.004
        assert not sealed(bench.told(BytesCame(ticket), Offered(ticket, update_entry(client), ticket)))
    assert bench.core.wake_at(bench.now) == pytest.approx(bench.now + 0.005)
    bench.now = bench.core.wake_at(bench.now) or 0.0
    assert [set(batch.entries) for batch in sealed(bench.told(Tick()))] == [{0, 1, 2}]
    assert bench.core.wake_at(bench.now) is None


def test_an_upload_that_breaks_off_is_not_waited_for_any_longer(bench: Bench) -> None:
    bench.hold_open()
    bench.told(Offered(1, update_entry("a")))
    bench.now += 0.1
    assert not sealed(bench.told(UploadEnded(99)))
    assert bench.core.wake_at(bench.now) == pytest.approx(bench.now + 0.005)
    assert not sealed(bench.told(UploadEnded(99))), "it ended once"
    bench.now += 0.005
    assert sealed(bench.told(UploadEnded(99)))


def test_small_updates_that_do_not_end_hold_a_batch_no_longer_than_its_age(bench: Bench) -> None:
    bench.told(BytesCame(1), Offered(1, update_entry("a"), 1))
    for ticket in range(2, 400):
        bench.now += 0.003
        if sealed(bench.told(BytesCame(ticket), UploadEnded(ticket))):
            break
    assert bench.now == pytest.approx(101.0, abs=0.01)


def test_an_upload_that_stands_still_holds_no_batch_open(bench: Bench) -> None:
    bench.hold_open()
    bench.told(Offered(1, update_entry("a")))
    assert bench.core.wake_at(bench.now) == pytest.approx(bench.now + 0.2)
    bench.now += 0.21
    assert sealed(bench.told(Tick()))


def test_bytes_keep_a_batch_open_until_its_age(bench: Bench) -> None:
    bench.hold_open()
    bench.told(Offered(1, update_entry("a")))
    for _ in range(6):
        bench.now += 0.15
        assert not sealed(bench.told(BytesCame(99)))
    assert bench.core.wake_at(bench.now) == pytest.approx(101.0)
    bench.now = 101.0
    assert sealed(bench.told(Tick()))


def test_a_full_batch_is_sent_whatever_comes_in() -> None:
    bench = Bench(batch_max=2)
    bench.hold_open()
    assert not sealed(bench.told(Offered(1, update_entry("a"))))
    assert [set(batch.entries) for batch in sealed(bench.told(Offered(2, update_entry("b"))))] == [{1, 2}]


def test_a_partial_larger_than_a_batch_is_sent_alone() -> None:
    bench = Bench(batch_max=2)
    assert [set(b.entries) for b in sealed(bench.told(Offered(1, partial_entry("a", "b", "c"))))] == [{1}]


def test_partials_count_one_each_towards_a_full_batch() -> None:
    bench = Bench(batch_max=2)
    bench.hold_open()
    assert not sealed(bench.told(Offered(1, partial_entry("a", "b", "c"))))
    assert [set(b.entries) for b in sealed(bench.told(Offered(2, partial_entry("d", "e"))))] == [{1, 2}]


@pytest.mark.parametrize(("megabytes", "most"), [(1, 4), (1 << 10, 4), ((1 << 10) + 1, 3), (3 << 10, 2), (1 << 20, 2)])
def test_of_large_models_a_batch_takes_fewer_but_never_one_alone(megabytes: int, most: int) -> None:
    bench = Bench(batch_max=4)
    tensor = TensorPlan("w", "F32", (megabytes, 1 << 18), "float", 20)
    bench.told(RoundSeen(make_plan(attempt=2, tensors=(tensor,))))
    bench.hold_open()
    batches = sealed(bench.told(*(Offered(n, update_entry(str(n), attempt=2)) for n in range(2 * most + 1))))
    batches += sealed(bench.told(BatchCounted()))
    assert [len(batch.entries) for batch in batches] == [most, most]
    assert bench.core.unsettled == most + 1


def test_several_entries_weigh_no_more_than_as_many_updates_as_a_batch_may_have() -> None:
    bench, most = Bench(batch_max=3), PLAN.max_examples
    bench.hold_open()
    bench.told(Offered(1, partial_entry("a", "b", num_examples=most)))
    batches = sealed(bench.told(Offered(2, partial_entry("c", "d", num_examples=most))))
    assert [set(batch.entries) for batch in batches] == [{1}]


def test_a_partials_header_has_room_for_the_contributors_of_a_batch() -> None:
    bench, room = Bench(batch_max=4), contributors_room(PLAN)
    bench.hold_open()
    assert not sealed(bench.told(Offered(1, wordy("a", room // 2)), Offered(2, wordy("b", room - room // 2))))
    assert [set(batch.entries) for batch in sealed(bench.told(Offered(3, update_entry("one-more"))))] == [{1, 2}]


def test_many_contributors_with_few_words_join_one_batch() -> None:
    bench = Bench(batch_max=4)
    bench.hold_open()
    first, second = ([f"{side}-{number}" for number in range(2000)] for side in "ab")
    bench.told(Offered(1, partial_entry(*first)), Offered(2, partial_entry(*second)))
    batches = sealed(bench.told_and_quiet(UploadEnded(99)))
    assert [set(batch.entries) for batch in batches] == [{1, 2}]


def test_a_partial_for_which_no_header_has_room_goes_alone() -> None:
    bench, room = Bench(batch_max=4), contributors_room(PLAN)
    bench.hold_open()
    batches = sealed(bench.told(Offered(1, wordy("a", room + 1)), Offered(2, update_entry("b"))))
    assert [set(batch.entries) for batch in batches] == [{1}]


def test_one_batch_is_in_flight_and_one_open(bench: Bench) -> None:
    bench.told(Offered(1, update_entry("a")))
    second = bench.told(Offered(2, update_entry("b")))
    third = bench.told(Offered(3, update_entry("c")))
    assert [*second, *third] == []
    assert bench.core.wake_at(bench.now) is None
    assert [set(batch.entries) for batch in sealed(bench.told(BatchCounted()))] == [{2, 3}]


def test_a_batch_stays_within_the_weight_limit() -> None:
    bench = Bench(batch_max=10)
    bench.hold_open()
    half = PLAN.weight_limit // 2
    bench.told(Offered(1, update_entry("a", half)), Offered(2, update_entry("b", half)))
    batches = sealed(bench.told(Offered(3, update_entry("c", 1))))
    assert [set(batch.entries) for batch in batches] == [{1, 2}]
    assert [set(batch.entries) for batch in sealed(bench.told_and_quiet(BatchCounted(), UploadEnded(99)))] == [{3}]


def test_every_batch_has_an_id_of_its_own(bench: Bench) -> None:
    first = sealed(bench.told(Offered(1, update_entry("a"))))
    second = sealed(bench.told(BatchCounted(), Offered(2, update_entry("b"))))
    assert first[0].batch_id != second[0].batch_id
