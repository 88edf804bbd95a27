from __future__ import annotations

import pytest

from master_aggregator.lookout import Lookout, next_look


def waiting(rounds: int) -> Lookout:
    lookout = Lookout()
    for number in range(rounds):
        lookout.watch_for(number, f"model {number}")
    return lookout


def looks(lookout: Lookout) -> list[int]:
    return [number for number, _ in lookout.next_looks()]


def test_nothing_is_looked_at_when_nothing_is_waited_for() -> None:
    lookout = waiting(1)
    lookout.done(0)
    assert (looks(lookout), lookout.pending) == ([], 0)


def test_few_rounds_are_all_looked_at_by_their_models() -> None:
    assert sorted(waiting(3).next_looks()) == [(0, "model 0"), (1, "model 1"), (2, "model 2")]


def test_of_many_rounds_one_pass_looks_at_the_newest_and_twenty_at_most() -> None:
    found = looks(waiting(1000))
    assert len(found) == len(set(found)) == 20
    assert set(range(990, 1000)) <= set(found)


def test_every_round_has_its_turn() -> None:
    lookout = waiting(95)
    seen = {number for _ in range(9) for number in looks(lookout)}
    assert seen == set(range(95))


def test_a_found_evaluation_is_not_looked_for_again_though_it_is_not_written_yet() -> None:
    lookout = waiting(3)
    lookout.found_one(1, b"record")
    lookout.watch_for(1, "model 1")
    assert sorted(looks(lookout)) == [0, 2]
    assert lookout.found == {1: b"record"}


def test_what_is_done_is_not_waited_for_again() -> None:
    lookout = waiting(2)
    lookout.found_one(1, b"record")
    lookout.done(1)
    lookout.watch_for(1, "model 1")
    assert (looks(lookout), lookout.found) == ([0], {})


def test_after_a_round_it_is_looked_when_no_other_came_for_a_pause() -> None:
    assert next_look(now=100.0, first=100.0, pause=2.0) == 102.0


@pytest.mark.parametrize("apart", [0.1, 0.5, 1.9])
def test_rounds_that_follow_each_other_put_a_look_off_but_not_for_ever(apart: float) -> None:
    looked_at, now = next_look(0.0, 0.0, 2.0), 0.0
    while now < looked_at:
        now += apart
        looked_at = next_look(now, 0.0, 2.0)
    assert 20.0 - apart <= looked_at <= 20.0
