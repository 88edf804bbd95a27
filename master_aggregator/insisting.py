"""Steps that are done until they work, however long S3 or the disk takes, with a word now and then of why they wait."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from fedtier.reminders import trouble_reminder
from fedtier.rounds import RoundPlan
from fedtier.store import StoreUnavailable
from master_aggregator.metrics import MasterMetrics
from master_aggregator.opening import Workshop

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_Result = TypeVar("_Result")


class Insistence:
    """Does one thread's steps.

    Parameters
    ----------
    what : str
        What waits while a step fails, with its verb: ``"a round waits to be published"``.
    workshop : Workshop
    metrics : MasterMetrics
    rng : random.Random
        Spreads the tries.
    """

    def __init__(self, what: str, workshop: Workshop, metrics: MasterMetrics, rng: random.Random) -> None:
        self._what = what
        self._workshop = workshop
        self._metrics = metrics
        self._rng = rng
        self._trouble: str | None = None

    def trouble(self) -> str | None:
        """Return what waits and why, or None."""
        return self._trouble

    def insist(
        self, plan: RoundPlan, step: Callable[[], _Result], require_there: Callable[[], None] = lambda: None
    ) -> _Result:
        """Do a step until it works, and return its result.

        Parameters
        ----------
        plan : RoundPlan
            Of the round that is worked on.
        step : callable
            Raises `StoreUnavailable` or `OSError` while it does not work.
        require_there : callable
            Ends the process where the disk has lost something without which the step never works.
        """
        pause, reminder, began = _FIRST_PAUSE, trouble_reminder(), self._workshop.clock()
        while True:
            try:
                result = step()
            except (StoreUnavailable, OSError) as error:
                if isinstance(error, OSError):
                    require_there()
                reason = self._workshop.state.refuse(error).detail if isinstance(error, OSError) else str(error)
                self._trouble = f"{self._what}: {reason}"
                self._metrics.retries.add("disk" if isinstance(error, OSError) else "s3")
                lasted = (self._workshop.clock() - began).total_seconds()
                if reminder.due(lasted):
                    self._tell_of_trouble(plan, reason, lasted)
            else:
                self._trouble = None
                return result
            threading.Event().wait(self._rng.uniform(pause / 2, pause))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _tell_of_trouble(self, plan: RoundPlan, reason: str, lasted: float) -> None:
        structlog.get_logger().warning(
            "publishing does not get on",
            round=plan.round,
            attempt=plan.attempt,
            what=self._what,
            reason=reason,
            for_seconds=round(lasted, 1),
        )
