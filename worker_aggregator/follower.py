"""The thread that watches the upstream's round."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final

import structlog

from fedtier.metrics import Silence
from fedtier.problems import Problem
from fedtier.reminders import Reminder, trouble_reminder
from fedtier.rounds import RoundStatus
from fedtier.serving.refusals import Refusals, write_report
from fedtier.upstream import Unreachable, Upstream

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


class Follower:
    """Polls the upstream at the pace it asks for.

    Parameters
    ----------
    upstream : Upstream
        Used by this thread alone.
    see : callable
        Takes every status that came, also an unchanged one.
    refusals : Refusals
        Reported with each poll, those since the last that was answered.
    silence : Silence
        Is told of every answer.
    clock : callable
        Monotonic seconds.
    rng : random.Random
        Spreads the polls of many workers.
    """

    def __init__(
        self,
        upstream: Upstream,
        see: Callable[[RoundStatus], None],
        refusals: Refusals,
        silence: Silence,
        *,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._upstream = upstream
        self._see = see
        self._refusals = refusals
        self._silence = silence
        self._clock = clock
        self._rng = rng
        self._hurry = threading.Event()
        self._lost_since: float | None = clock()
        self._reason = "the upstream was not asked yet"
        self._reminder: Reminder | None = None
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="follower", daemon=True).start()

    def hurry(self) -> None:
        """Ask now: somebody knows of a newer round."""
        self._hurry.set()

    def trouble(self) -> tuple[str, float] | None:
        """Return why the upstream is lost and since when (on the clock), or None while it answers."""
        since = self._lost_since
        return None if since is None else (self._reason, since)

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                status = self._ask()
            except (Unreachable, Problem) as error:
                said = str(error) if isinstance(error, Unreachable) else f"{self._upstream.url}: {error}"
                self._lose(f"upstream {said}")  # what is unreachable is named by the error
                wait, pause = pause, min(2 * pause, _LONGEST_PAUSE)
            else:
                self._find()
                pause = _FIRST_PAUSE
                self._see(status)
                wait = status.poll_after
            # Jitter, so that workers started together do not ask together.
            self._hurry.wait(wait * self._rng.uniform(0.75, 1.25))
            self._hurry.clear()

    def _ask(self) -> RoundStatus:
        refused = self._refusals.take()
        try:
            return self._upstream.round_status(write_report(refused))
        except BaseException:
            self._refusals.add(refused)
            raise

    def _lose(self, reason: str) -> None:
        now = self._clock()
        self._lost_since = now if self._lost_since is None else self._lost_since
        if self._reminder is None or self._reason != reason:
            self._reminder = trouble_reminder()
        lasted = now - self._lost_since
        if self._reminder.due(lasted):
            self._log.warning("the upstream is lost", reason=reason, for_seconds=round(lasted, 1))
        self._reason = reason

    def _find(self) -> None:
        """Note that the upstream answers, and say so where it was lost."""
        self._silence.broken()
        since, self._lost_since = self._lost_since, None
        if since is not None and self._reminder is not None:
            self._log.info("the upstream answers again", after_seconds=round(self._clock() - since, 1))
        self._reminder = None
