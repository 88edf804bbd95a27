from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from fedtier.problems import SlowDown, Unavailable
from fedtier.serving.buckets import TokenBuckets
from fedtier.serving.shares import SHARE, ParsingRoom, RequestRate, TransferSlots, client_of
from fedtier.tokens import Bearer

# Slots


def test_transfers_beyond_the_slots_are_refused_at_once() -> None:
    slots = TransferSlots(2)
    with slots.take(None), slots.take(None), pytest.raises(Unavailable, match="every transfer slot"), slots.take(None):
        pass
    with slots.take(None), slots.take(None):
        pass


def test_a_slot_is_free_again_after_a_failure() -> None:
    slots = TransferSlots(1)
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"), slots.take("a"):
            raise ValueError("broken")
    with slots.take("a"):
        pass


def test_one_client_has_its_share_and_leaves_the_rest_to_others() -> None:
    slots = TransferSlots(64)
    with ExitStack() as held:
        for _ in range(SHARE):
            held.enter_context(slots.take("greedy"))
        with pytest.raises(SlowDown, match=f"{SHARE} transfers of 'greedy'") as refusal, slots.take("greedy"):
            pass
        for number in range(64 - SHARE):
            held.enter_context(slots.take(f"client-{number}"))
    assert refusal.value.retry_after == 1
    with slots.take("greedy"):
        pass


def test_an_upload_whose_connection_broke_and_one_that_came_twice_leave_room_for_a_repeat() -> None:
    assert SHARE >= 3
    slots = TransferSlots(64)
    with slots.take("a"), slots.take("a"), slots.take("a"):
        pass


@pytest.mark.parametrize(("number", "share"), [(1, 1), (4, 1), (8, 2), (12, 3), (64, 3)])
def test_of_few_slots_no_client_takes_more_than_a_quarter(number: int, share: int) -> None:
    slots = TransferSlots(number)
    with ExitStack() as held:
        for _ in range(share):
            held.enter_context(slots.take("greedy"))
        with pytest.raises((SlowDown, Unavailable)):
            slots.hold("greedy")


def test_who_has_no_share_may_take_all_slots() -> None:
    slots = TransferSlots(16)
    releases = [slots.hold(None) for _ in range(16)]
    for release in releases:
        release()
    slots.hold("a")()


def test_many_threads_never_hold_more_than_there_are_and_give_all_back() -> None:
    slots, most, together = TransferSlots(8), 0, threading.Barrier(16)
    held, lock = 0, threading.Lock()

    def transfer(client: str) -> None:
        nonlocal held, most
        together.wait()
        for _ in range(500):
            try:
                release = slots.hold(client)
            except (SlowDown, Unavailable):
                continue
            with lock:
                held += 1
                most = max(most, held)
            with lock:
                held -= 1
            release()

    threads = [threading.Thread(target=transfer, args=(f"client-{number}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < most <= 8
    releases = [slots.hold(None) for _ in range(8)]
    with pytest.raises(Unavailable):
        slots.hold(None)
    for release in releases:
        release()


def test_only_clients_have_a_share() -> None:
    assert client_of(Bearer("client", "client-3")) == "client-3"
    assert client_of(Bearer("worker", "edge")) is None
    assert client_of(Bearer("operator", "me")) is None
    assert client_of(None) is None


# Requests


def test_a_client_that_asks_too_often_is_told_when_to_come_again() -> None:
    now = 0.0
    rate = RequestRate(TokenBuckets(rate=10, burst=2), lambda: now)
    rate.count("a")
    rate.count("a")
    with pytest.raises(SlowDown, match="'a' asks too often") as refusal:
        rate.count("a")
    assert refusal.value.retry_after == 1
    rate.count("b")
    now = 0.1
    rate.count("a")


def test_requests_of_nobody_in_particular_are_not_counted() -> None:
    rate = RequestRate(TokenBuckets(rate=1, burst=1), lambda: 0.0)
    for _ in range(10):
        rate.count(None)


# Memory


def test_headers_beyond_the_room_wait_for_those_that_are_parsed() -> None:
    room, inside, waiting = ParsingRoom(10), threading.Event(), threading.Event()

    def parse() -> None:
        waiting.set()
        with room.take(7):
            inside.set()

    with room.take(4):
        thread = threading.Thread(target=parse)
        thread.start()
        assert waiting.wait(30)
        assert not inside.wait(0.05), "7 and 4 are more than 10"
        with room.take(6):
            pass
    assert inside.wait(30)
    thread.join()


def test_a_header_longer_than_the_room_has_it_for_itself() -> None:
    room = ParsingRoom(10)
    with room.take(1 << 62):
        pass
    with room.take(10):
        pass
