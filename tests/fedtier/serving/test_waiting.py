from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from fedtier.entries import Counted
from fedtier.problems import AlreadyCounted, RoundOver, Unavailable
from fedtier.serving.waiting import WaitingRoom

COUNTED = Counted(1, 2, "a" * 64)


def test_whoever_waits_gets_the_outcome_of_his_ticket() -> None:
    room = WaitingRoom()
    first, second = room.enter(), room.enter()
    other = Counted(1, 2, "b" * 64)
    with ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(room.wait, ticket, 30) for ticket in (first, second)]
        room.settle(second, other)
        room.settle(first, COUNTED)
        assert [wait.result() for wait in waits] == [COUNTED, other]


def test_an_outcome_that_comes_first_is_kept() -> None:
    room = WaitingRoom()
    ticket = room.enter()
    room.settle(ticket, COUNTED)
    assert room.wait(ticket, 0) == COUNTED


def test_a_refusal_is_raised_anew_for_everyone_who_shares_it() -> None:
    room = WaitingRoom()
    shared = RoundOver("over", round=2, attempt=3)
    tickets = room.enter(), room.enter()
    raised = []
    for ticket in tickets:
        room.settle(ticket, shared)
        with pytest.raises(RoundOver, match="over") as caught:
            room.wait(ticket, 0)
        raised.append(caught.value)
        assert caught.value.members == {"round": 2, "attempt": 3}
    assert raised[0] is not raised[1] is not shared


def test_members_of_any_name_are_kept() -> None:
    room = WaitingRoom()
    ticket = room.enter()
    refusal = AlreadyCounted("some", retry_after=2.0)
    refusal.members.update({"detail": "x", "self": 1})
    room.settle(ticket, refusal)
    with pytest.raises(AlreadyCounted) as caught:
        room.wait(ticket, 0)
    assert (caught.value.members, caught.value.retry_after) == ({"detail": "x", "self": 1}, 2.0)


def test_whoever_waited_long_enough_is_asked_to_come_again() -> None:
    room = WaitingRoom()
    ticket = room.enter()
    with pytest.raises(Unavailable, match="send again"):
        room.wait(ticket, 0)
    room.settle(ticket, COUNTED)


def test_a_ticket_is_nobody_elses() -> None:
    room = WaitingRoom()
    with ThreadPoolExecutor(4) as pool:
        tickets = list(pool.map(lambda _: room.enter(), range(1000)))
    assert len(set(tickets)) == 1000
