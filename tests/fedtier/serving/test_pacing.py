from __future__ import annotations

import heapq

import pytest

from fedtier.serving.pacing import FASTEST, POLLS_PER_SECOND, SLOWEST, PollPacer


def polls_of(clients: int, seconds: float) -> tuple[PollPacer, list[tuple[float, float]]]:
    """Let so many clients poll at the pace they are told; return the pacer, and when it was asked and what it said."""
    pacer = PollPacer(0.0)
    due = [(client / clients * FASTEST, client) for client in range(clients)]
    heapq.heapify(due)
    answers: list[tuple[float, float]] = []
    while due[0][0] < seconds:
        now, client = due[0]
        pace = pacer.poll(now)
        answers.append((now, pace))
        heapq.heapreplace(due, (now + pace, client))
    return pacer, answers


def test_one_client_polls_as_fast_as_it_may() -> None:
    assert {pace for _, pace in polls_of(1, 30)[1]} == {FASTEST}


@pytest.mark.parametrize("clients", [10, 100, 400])
def test_polls_cost_a_bounded_share_of_a_server(clients: int) -> None:
    late = [now for now, _ in polls_of(clients, 120)[1] if now >= 60]
    assert len(late) / 60 <= POLLS_PER_SECOND * 1.1


def test_the_pace_of_a_steady_crowd_does_not_change() -> None:
    assert len({pace for now, pace in polls_of(10, 120)[1] if now >= 10}) == 1


def test_the_pace_follows_the_clients_down_again() -> None:
    pacer, answers = polls_of(100, 30)
    now, pace = answers[-1]
    assert pace > FASTEST
    for _ in range(200):
        now += pace
        pace = pacer.poll(now)
    assert pace == FASTEST


def test_nobody_is_asked_to_wait_longer_than_the_slowest_pace() -> None:
    pacer = PollPacer(0.0)
    paces = [pacer.poll(second * 2.5 + k / 100_000) for second in range(40) for k in range(5000)]
    assert max(paces) <= SLOWEST
