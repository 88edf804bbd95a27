"""A worker's core without its shell, and what its actions say."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from fedtier.entries import Entry, Outcome
from tests.builders import make_plan
from worker_aggregator.batch import LINGER, Batcher
from worker_aggregator.events import (
    Action,
    Batch,
    BytesCame,
    DropBody,
    Event,
    RoundSeen,
    Seal,
    Settle,
    Tick,
)

PLAN = make_plan()


class Bench:
    """A batcher with a clock that a test sets."""

    def __init__(self, *, batch_max: int = 4, batch_age: float = 1.0) -> None:
        numbers = itertools.count(1)
        self.core = Batcher(batch_max=batch_max, batch_age=batch_age, new_id=lambda: f"batch-{next(numbers)}")
        self.now = 100.0
        self.told(RoundSeen(PLAN))

    def told(self, *events: Event) -> list[Action]:
        """Tell the core some events and return what it wants done."""
        return [action for event in events for action in self.core.handle_event(event, self.now)]

    def told_and_quiet(self, *events: Event) -> list[Action]:
        """Tell the core some events, then let no upload come for so long that a batch is sent."""
        actions = self.told(*events)
        self.now += LINGER
        return [*actions, *self.told(Tick())]

    def hold_open(self, upload: int = 99) -> None:
        """Let an upload come in, so that nothing is sealed."""
        self.told(BytesCame(upload))


def sealed(actions: Iterable[Action]) -> list[Batch]:
    return [action.batch for action in actions if isinstance(action, Seal)]


def outcomes(actions: Iterable[Action]) -> dict[int, Outcome]:
    settled = [action for action in actions if isinstance(action, Settle)]
    assert len({action.ticket for action in settled}) == len(settled), "a ticket is settled once"
    return {action.ticket: action.outcome for action in settled}


def dropped(actions: Iterable[Action]) -> list[Entry]:
    return [action.entry for action in actions if isinstance(action, DropBody)]
