"""Which uploads a round takes, judged by their address alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fedtier.problems import NotSelected, RoundNotOpen, RoundOver, Unavailable
from fedtier.rounds import RoundPlan, State


def refuse_by_address(plan: RoundPlan, state: State, round_number: int, client_id: str | None) -> None:
    """Refuse an upload that its round and client alone rule out.

    Raises
    ------
    RoundOver, RoundNotOpen, NotSelected, Unavailable
    """
    now: dict[str, Any] = {"round": plan.round, "attempt": plan.attempt}
    if round_number < plan.round:
        raise RoundOver(f"round {round_number} is closed; round {plan.round} is open", **now)
    if round_number > plan.round:
        raise RoundNotOpen(f"round {round_number} is not open yet; round {plan.round} is", **now)
    if state == "finished":
        raise RoundNotOpen(f"the last round, {plan.final_round}, is published; no further one opens", **now)
    if state == "publishing":
        raise RoundOver(f"round {round_number} is closed and being published", **now)
    if state == "paused":
        raise Unavailable("the operator paused the round", retry_after=5)
    if client_id is not None:
        refuse_unselected(plan, (client_id,))


def refuse_unselected(plan: RoundPlan, client_ids: Iterable[str]) -> None:
    """Refuse clients that are not in the round's cohort.

    Raises
    ------
    NotSelected
    """
    unselected = [client_id for client_id in client_ids if not plan.selects(client_id)]
    if unselected:
        raise NotSelected(
            f"client {min(unselected)!r} is not in the cohort of round {plan.round}",
            round=plan.round,
            attempt=plan.attempt,
        )
