from __future__ import annotations

from typing import Any

import pytest

from fedtier.admission import refuse_by_address, refuse_unselected
from fedtier.problems import NotSelected, Problem, RoundNotOpen, RoundOver, Unavailable
from fedtier.rounds import State
from tests.builders import make_plan

PLAN = make_plan(round=7, attempt=12, cohort=("a", "b"), final_round=9)


@pytest.mark.parametrize(
    ("state", "number", "client_id", "refusal"),
    [
        ("collecting", 6, "a", RoundOver),
        ("collecting", 8, "a", RoundNotOpen),
        ("publishing", 7, "a", RoundOver),
        ("finished", 7, "a", RoundNotOpen),
        ("paused", 7, "a", Unavailable),
        ("paused", 6, "a", RoundOver),
        ("collecting", 7, "c", NotSelected),
    ],
)
def test_an_address_that_rules_an_upload_out(state: State, number: int, client_id: str, refusal: type[Problem]) -> None:
    with pytest.raises(refusal) as caught:
        refuse_by_address(PLAN, state, number, client_id)
    if caught.value.status == 409:
        assert (caught.value.members["round"], caught.value.members["attempt"]) == (7, 12)
    else:
        assert caught.value.retry_after is not None


@pytest.mark.parametrize("client_id", ["a", "b", None])
def test_an_address_that_the_round_takes(client_id: str | None) -> None:
    refuse_by_address(PLAN, "collecting", 7, client_id)


def test_a_round_without_a_cohort_takes_anyone() -> None:
    refuse_unselected(make_plan(), ("anyone", "else"))


def test_the_first_client_outside_the_cohort_is_named() -> None:
    with pytest.raises(NotSelected, match="'c'") as caught:
        refuse_unselected(PLAN, ("z", "a", "c"))
    members: dict[str, Any] = caught.value.members
    assert members == {"round": 7, "attempt": 12}
