"""When the master warns that its round stands still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from fedtier.rounds import RoundStatus
from master_aggregator.stillness import FIRST_WARNING, Still, Stillness
from tests.client.federation import make_status

START = datetime(2026, 1, 1, tzinfo=UTC)
OPEN = make_status({"mean": np.zeros(1, np.float32)}).model_copy(update={"threshold": 10, "counted": 4})


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def shown(**changes: Any) -> RoundStatus:
    return OPEN.model_copy(update=changes)


def warned(stillness: Stillness, status: RoundStatus, seconds: range) -> list[Still]:
    looks = (stillness.look(status, after(second)) for second in seconds)
    return [still for still in looks if still is not None]


def test_a_round_without_new_contributors_is_warned_of_ever_less_often() -> None:
    hours = warned(Stillness(), OPEN, range(0, 6 * 3600, 30))
    assert [still.seconds for still in hours] == [300, 600, 1200, 2400, 4800, 8400, 12000, 15600, 19200]
    assert {still.missing for still in hours} == {6}


@pytest.mark.parametrize("changes", [{"counted": 5}, {"round": 2}, {"attempt": 2}])
def test_what_moves_is_not_warned_of(changes: dict[str, Any]) -> None:
    stillness = Stillness()
    assert warned(stillness, OPEN, range(0, 299)) == []
    assert warned(stillness, shown(**changes), range(299, 598)) == []
    assert warned(stillness, shown(**changes), range(598, 600)) == [
        Still(FIRST_WARNING, 10 - changes.get("counted", 4))
    ]


def test_past_its_deadline_a_round_misses_what_its_quorum_misses() -> None:
    overdue = shown(deadline=after(200), min_clients=6)
    assert warned(Stillness(), overdue, range(0, 301)) == [Still(FIRST_WARNING, 2)]
    due = shown(deadline=after(400), min_clients=6)
    assert warned(Stillness(), due, range(0, 301)) == [Still(FIRST_WARNING, 6)]


@pytest.mark.parametrize("state", ["publishing", "finished"])
def test_a_round_that_takes_nothing_waits_for_nobody(state: str) -> None:
    assert warned(Stillness(), shown(state=state), range(0, 3600)) == []


def test_a_paused_round_is_warned_of() -> None:
    assert len(warned(Stillness(), shown(state="paused"), range(0, 301))) == 1
