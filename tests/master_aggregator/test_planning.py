"""Rounds as they are opened: who is selected, and when they close."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.rounds import BaseRound, RoundPlan
from master_aggregator.planning import cohort_size, plan_round
from tests.masters import rules

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def plan_of(number: int, **changes: object) -> RoundPlan:
    base = BaseRound(round=number - 1, sha256="0" * 64, bytes=1, url="/")
    return plan_round(rules(**{"threshold": None, **changes}), base=base, attempt=1, tensors=(), now=NOW)


@pytest.mark.parametrize(
    ("clients", "fraction", "size"),
    [(100, 0.1, 10), (100, 0.0, 1), (100, 1.0, 100), (100, 0.001, 1), (100, 0.29, 29), (100, 0.57, 57), (7, 0.5, 4)],
)
def test_a_cohort_is_the_fraction_of_the_clients_and_at_least_one(clients: int, fraction: float, size: int) -> None:
    assert cohort_size(clients, fraction) == size


@given(st.integers(1, 500), st.floats(0, 1), st.integers(), st.integers(1, 10**6))
def test_a_cohort_has_so_many_different_clients_sorted_by_number(
    clients: int, fraction: float, seed: int, number: int
) -> None:
    cohort = plan_of(number, clients=clients, fraction=fraction, seed=seed).cohort

    assert cohort is not None
    numbers = [int(client.removeprefix("client-")) for client in cohort]
    assert len(numbers) == cohort_size(clients, fraction)
    assert numbers == sorted(set(numbers))
    assert 0 <= numbers[0] <= numbers[-1] < clients


def test_a_cohort_is_the_same_on_every_machine_and_another_in_each_round_and_for_each_seed() -> None:
    first, second, other = (
        plan_of(number, clients=100, fraction=0.05, seed=seed).cohort for number, seed in ((1, 3), (2, 3), (1, 4))
    )

    assert first == ("client-1", "client-20", "client-29", "client-35", "client-83")
    assert len({first, second, other}) == 3


def test_over_many_rounds_every_client_is_selected_about_equally_often() -> None:
    seen = dict.fromkeys((f"client-{number}" for number in range(20)), 0)
    for number in range(1, 1001):
        for client in plan_of(number, clients=20, fraction=0.25).cohort or ():
            seen[client] += 1

    # Of Binomial(1000, 0.25): mean 250, deviation 13.7.
    assert 190 < min(seen.values()) <= max(seen.values()) < 310


def test_a_round_closes_at_its_whole_cohort_unless_told_otherwise() -> None:
    assert plan_of(1, clients=40, fraction=0.5).threshold == 20
    assert plan_of(1, clients=40, fraction=0.5, threshold=15).threshold == 15


def test_without_a_number_of_clients_anyone_takes_part() -> None:
    plan = plan_of(1, threshold=3)

    assert (plan.cohort, plan.threshold) == (None, 3)


def test_no_client_may_take_the_room_of_those_that_close_the_round() -> None:
    assert plan_of(1, threshold=6, batch_max=4, weight_limit=1000).max_examples == 100
    assert plan_of(1, threshold=600, batch_max=4, weight_limit=600).max_examples == 1


def test_a_deadline_counts_from_the_opening() -> None:
    assert plan_of(1, threshold=1, deadline=90.0).deadline == NOW + timedelta(seconds=90)
    assert plan_of(1, threshold=1).deadline is None
