"""Patience with a slow body: spent by waiting, earned by bytes, never more than at first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fedtier.serving.front.rates import LeastRate

RATE, PATIENCE = 1000, 10.0
waits = st.lists(st.tuples(st.integers(0, 50_000), st.floats(0, 30, allow_nan=False)), max_size=60)


def test_a_body_of_which_nothing_comes_may_wait_as_long_as_the_patience() -> None:
    rate = LeastRate(RATE, PATIENCE)
    rate.moved(0, 9.0)
    assert rate.patience == 1.0
    rate.moved(0, 2.0)
    assert rate.patience == 0.0


@given(st.integers(1, 50), st.floats(0.0, PATIENCE))
def test_a_body_that_keeps_the_rate_is_never_cut_off(blocks: int, pause: float) -> None:
    rate = LeastRate(RATE, PATIENCE)
    for _ in range(blocks):
        assert pause <= rate.patience + 1e-6
        rate.moved(int(pause * RATE) + 1, pause)


@given(waits)
def test_whoever_was_waited_for_moved_what_the_rate_asks_but_for_the_patience(waits: list[tuple[int, float]]) -> None:
    rate = LeastRate(RATE, PATIENCE)
    waited = moved = 0.0
    for num_bytes, seconds in waits:
        if seconds >= rate.patience:  # the wait would have been broken off
            break
        rate.moved(num_bytes, seconds)
        waited, moved = waited + seconds, moved + num_bytes
        assert moved >= (waited - PATIENCE) * RATE - 1e-6
        assert 0.0 <= rate.patience <= PATIENCE


def test_a_fast_beginning_is_no_credit_for_a_slow_end() -> None:
    rate = LeastRate(RATE, PATIENCE)
    rate.moved(100 * 1024 * 1024, 1.0)
    assert rate.patience == PATIENCE


def test_drops_do_not_keep_a_body_alive() -> None:
    rate = LeastRate(RATE, PATIENCE)
    drops = 0
    while rate.patience > 1.0:
        rate.moved(1, 1.0)
        drops += 1
    assert drops == 10


def test_without_a_rate_any_byte_makes_up_for_the_wait() -> None:
    rate = LeastRate(0, PATIENCE)
    rate.moved(1, 9.0)
    assert rate.patience == PATIENCE
    rate.moved(0, 9.0)
    assert rate.patience == 1.0
