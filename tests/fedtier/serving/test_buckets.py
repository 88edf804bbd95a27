from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fedtier.serving.buckets import REQUESTS_PER_SECOND, TokenBuckets
from fedtier.serving.pacing import FASTEST


def test_a_burst_is_taken_and_then_as_many_as_the_rate_allows() -> None:
    buckets = TokenBuckets(rate=10, burst=3)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a", 0.0) == 0.1
    assert buckets.take("a", 0.1) == 0
    assert buckets.take("a", 0.1) > 0


def test_a_sender_that_asks_too_often_takes_nothing_from_another() -> None:
    buckets = TokenBuckets(rate=10, burst=3)
    while not buckets.take("greedy", 0.0):
        pass
    assert buckets.take("patient", 0.0) == 0


def test_a_client_that_polls_as_fast_as_it_is_asked_to_is_never_refused() -> None:
    buckets = TokenBuckets()
    pause = FASTEST / 2  # clients halve it at most, by their jitter
    assert 1 / pause <= REQUESTS_PER_SECOND
    assert not any(buckets.take("client", pause * number) for number in range(10_000))


def test_who_was_not_heard_of_for_the_longest_time_is_forgotten() -> None:
    buckets = TokenBuckets(rate=1, burst=1, most_senders=3)
    for sender in ("a", "b", "c", "a", "d"):
        buckets.take(sender, 0.0)
    assert len(buckets) == 3
    assert buckets.take("a", 0.0) > 0, "it was heard of since"
    assert buckets.take("b", 0.0) == 0, "it was forgotten"


@given(st.lists(st.floats(min_value=0, max_value=3), max_size=200), st.integers(1, 20), st.integers(1, 20))
def test_no_sender_gets_more_than_burst_and_rate(pauses: list[float], rate: int, burst: int) -> None:
    buckets = TokenBuckets(rate=rate, burst=burst)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        taken += not buckets.take("a", now)
        assert taken <= burst + rate * now + 1e-6


def test_a_clock_that_goes_backwards_gives_nothing() -> None:
    buckets = TokenBuckets(rate=1, burst=1)
    assert buckets.take("a", 10.0) == 0
    assert buckets.take("a", 5.0) > 0
