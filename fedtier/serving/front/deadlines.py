"""Who waits for what, since when, and until when: connections on which something is still to come."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

Stage = TypeVar("Stage", bound=Hashable)
Waiter = TypeVar("Waiter", bound=Hashable)


class Deadlines(Generic[Stage, Waiter]):
    """Waiters by stage. All of a stage wait equally long, so the first to come is the first that is over its time.

    Parameters
    ----------
    seconds : Mapping
        How long one may wait in each stage.
    """

    def __init__(self, seconds: Mapping[Stage, float]) -> None:
        self._seconds = dict(seconds)
        self._until: dict[Stage, dict[Waiter, float]] = {stage: {} for stage in self._seconds}
        self._stage_of: dict[Waiter, Stage] = {}

    def stage_of(self, waiter: Waiter) -> Stage | None:
        """Return what one waits for, or None for nothing."""
        return self._stage_of.get(waiter)

    def start(self, waiter: Waiter, stage: Stage, now: float) -> None:
        """Have one wait from now on, for something else than before if it waited already."""
        self.stop(waiter)
        self._stage_of[waiter] = stage
        self._until[stage][waiter] = now + self._seconds[stage]

    def stop(self, waiter: Waiter) -> None:
        """Have one wait no longer; no matter if it did not."""
        stage = self._stage_of.pop(waiter, None)
        if stage is not None:
            del self._until[stage][waiter]

    def expired(self, now: float) -> list[tuple[Waiter, Stage]]:
        """Return those that are over their time, with what for, and have them wait no longer."""
        over: list[tuple[Waiter, Stage]] = []
        for stage, waiters in self._until.items():
            for waiter, until in waiters.items():
                if until > now:
                    break
                over.append((waiter, stage))
        for waiter, _ in over:
            self.stop(waiter)
        return over

    def next(self) -> float | None:
        """Return when the next one is over its time, or None where nobody waits."""
        return min((next(iter(waiters.values())) for waiters in self._until.values() if waiters), default=None)

    def longest(self, stages: Iterable[Stage], wanted: Callable[[Waiter], bool] = lambda _: True) -> Waiter | None:
        """Return who waits longest in the first of these stages that has anybody who is wanted."""
        for stage in stages:
            for waiter in self._until[stage]:
                if wanted(waiter):
                    return waiter
        return None

    def number(self, stage: Stage) -> int:
        """Return how many wait in a stage."""
        return len(self._until[stage])

    def waiting(self, stages: Iterable[Stage]) -> list[Waiter]:
        """Return who waits in these stages, longest first in each."""
        return [waiter for stage in stages for waiter in self._until[stage]]
