"""Who waits for what until when, against a plain list of the same."""

from __future__ import annotations

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from fedtier.serving.front.deadlines import Deadlines

Stage = Literal["head", "idle"]
SECONDS: dict[Stage, float] = {"head": 10.0, "idle": 75.0}
stages = st.sampled_from(list(SECONDS))
steps = st.lists(st.tuples(st.integers(0, 5), st.none() | stages, st.floats(0, 30, allow_nan=False)), max_size=40)


@given(steps)
def test_everyone_who_is_over_time_is_found_and_nobody_else(steps: list[tuple[int, Stage | None, float]]) -> None:
    deadlines: Deadlines[Stage, int] = Deadlines(SECONDS)
    until: dict[int, tuple[Stage, float]] = {}
    now = 0.0
    for waiter, stage, pause in steps:
        now += pause
        over = {one: stage for one, (stage, end) in until.items() if end <= now}
        assert dict(deadlines.expired(now)) == over
        until = {one: rest for one, rest in until.items() if one not in over}
        if stage is None:
            deadlines.stop(waiter)
            until.pop(waiter, None)
        else:
            deadlines.start(waiter, stage, now)
            until[waiter] = stage, now + SECONDS[stage]
        assert deadlines.stage_of(waiter) == stage
        assert deadlines.next() == min((end for _, end in until.values()), default=None)
        assert set(deadlines.waiting(SECONDS)) == set(until)
        assert sum(map(deadlines.number, SECONDS)) == len(until)


def test_the_longest_waiter_of_the_first_stage_is_found_first() -> None:
    deadlines: Deadlines[Stage, str] = Deadlines(SECONDS)
    deadlines.start("a", "idle", 0.0)
    deadlines.start("b", "head", 1.0)
    deadlines.start("c", "head", 2.0)
    assert deadlines.longest(["head", "idle"]) == "b"
    assert deadlines.longest(["head", "idle"], lambda one: one != "b") == "c"
    assert deadlines.longest(["head", "idle"], lambda one: one == "a") == "a"
    assert deadlines.longest(["head", "idle"], lambda one: one == "d") is None


def test_whoever_begins_to_wait_anew_is_the_last_again() -> None:
    deadlines: Deadlines[Stage, str] = Deadlines(SECONDS)
    deadlines.start("a", "head", 0.0)
    deadlines.start("b", "head", 1.0)
    deadlines.start("a", "head", 2.0)
    assert deadlines.waiting(["head"]) == ["b", "a"]
