"""The master's core on a bench: told what happened, and asked what it wants done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fedtier.entries import Entry, Outcome
from master_aggregator.coordinator import (
    Action,
    Close,
    Coordinator,
    DropBody,
    Event,
    Offered,
    Opened,
    Record,
    Recorded,
    Settle,
)
from tests.builders import make_plan


class Bench:
    def __init__(self, **plan: Any) -> None:
        self.core = Coordinator()
        self.plan = make_plan(**{"threshold": 3, **plan})
        self.told(Opened(self.plan))

    def told(self, *events: Event) -> list[Action]:
        return [action for event in events for action in self.core.handle_event(event)]

    def count(self, ticket: int, entry: Entry) -> list[Action]:
        """Offer an entry and let it be recorded at once."""
        return self.told(Offered(ticket, entry), Recorded((ticket,)))


def outcomes(actions: Iterable[Action]) -> dict[int, Outcome]:
    settled = [action for action in actions if isinstance(action, Settle)]
    assert len({action.ticket for action in settled}) == len(settled), "a ticket is settled once"
    return {action.ticket: action.outcome for action in settled}


def recorded(actions: Iterable[Action]) -> list[int]:
    return [action.ticket for action in actions if isinstance(action, Record)]


def dropped(actions: Iterable[Action]) -> list[Entry]:
    return [action.entry for action in actions if isinstance(action, DropBody)]


def closed_with(actions: Iterable[Action]) -> list[str] | None:
    closes = [action for action in actions if isinstance(action, Close)]
    assert len(closes) <= 1
    return [c.client_id for c in closes[0].contributors] if closes else None
