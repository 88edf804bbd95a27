from __future__ import annotations

import heapq

import pytest

from fedtier.serving.pacing import (
    EAGER_SECONDS,
    EAGERNESS,
    FASTEST,
    POLLS_PER_SECOND,
    SLOWEST,
    Eagerness,
    PollPacer,
)


def poll(pacer: PollPacer, now: float, *, model_bytes: int = 0, age: float = 0.0, eager: bool = False) -> float:
    """Let one client ask, and return what it is told."""
    pace = pacer.pace(now, model_bytes=model_bytes, age=age, eager=eager)
    pacer.told(now, pace)
    return pace


def polls_of(clients: int, seconds: float) -> tuple[PollPacer, list[tuple[float, float]]]:
    """Let so many clients poll at the pace they are told; return the pacer, and when it was asked and what it said."""
    pacer = PollPacer(0.0)
    due = [(client / clients * FASTEST, client) for client in range(clients)]
    heapq.heapify(due)
    answers: list[tuple[float, float]] = []
    while due[0][0] < seconds:
        now, client = due[0]
        pace = poll(pacer, now)
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
        pace = poll(pacer, now)
    assert pace == FASTEST


def test_nobody_is_asked_to_wait_longer_than_the_slowest_pace() -> None:
    pacer = PollPacer(0.0)
    paces = [poll(pacer, second * 2.5 + k / 100_000) for second in range(40) for k in range(5000)]
    assert max(paces) <= SLOWEST


@pytest.mark.parametrize(
    ("megabytes", "pace"), [(0, 0.02), (1.7, 0.02), (5, 0.02), (6, 0.04), (64, 0.32), (9999, 1.28)]
)
def test_a_large_model_is_asked_for_less_often(megabytes: float, pace: float) -> None:
    assert poll(PollPacer(0.0), 0.0, model_bytes=int(megabytes * 1e6)) == pytest.approx(pace)


@pytest.mark.parametrize(("age", "pace"), [(0.0, 0.02), (2.0, 0.02), (2.1, 0.04), (10.0, 0.16), (86400.0, 1.28)])
def test_a_long_round_is_asked_for_less_often(age: float, pace: float) -> None:
    assert poll(PollPacer(0.0), 0.0, age=age) == pytest.approx(pace)


def test_polls_of_a_round_are_few_however_long_it_takes_and_none_is_late_by_more_than_a_fiftieth() -> None:
    pacer, now, polls = PollPacer(0.0), 0.0, 0
    while now < 100.0:
        pause = poll(pacer, now, age=now)
        assert pause <= max(FASTEST, now / 50)
        now, polls = now + pause, polls + 1
    assert polls < 500


def test_the_next_round_is_asked_for_more_often_when_it_is_about_to_open_but_never_too_often() -> None:
    pacer = PollPacer(0.0)
    assert poll(pacer, 0.0, model_bytes=64_000_000, eager=True) * EAGERNESS == poll(pacer, 0.0, model_bytes=64_000_000)
    assert poll(pacer, 0.0, eager=True) == FASTEST


def test_clients_are_counted_rightly_whatever_pace_they_were_told() -> None:
    steady, changing = PollPacer(0.0), PollPacer(0.0)
    now = dict.fromkeys((steady, changing), 0.0)
    for turn in range(400):
        for pacer in now:  # fifty clients, who ask one after the other within each pause
            eager = pacer is changing and turn % 3 == 0
            pauses = [poll(pacer, now[pacer], eager=eager) for _ in range(50)]
            now[pacer] += pauses[-1]
    assert poll(changing, now[changing]) == poll(steady, now[steady])


def test_a_round_is_about_to_open_while_the_one_before_is_published_but_not_for_ever() -> None:
    eagerness = Eagerness()
    assert not eagerness.look(0.0, "collecting")
    assert eagerness.look(10.0, "publishing")
    assert eagerness.look(10.0 + EAGER_SECONDS / 2, "publishing")
    assert not eagerness.look(10.0 + EAGER_SECONDS, "publishing")
    assert not eagerness.look(90.0, "collecting")
    assert eagerness.look(91.0, "publishing")
