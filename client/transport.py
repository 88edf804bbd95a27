"""Asks the server one tier up, and asks again while that can help.

Tried again, all of them safe to repeat: no answer, 429 and 5xx, and bytes that do
not match their digest. Everything else is an answer and goes to the caller. The
pauses grow exponentially with full jitter (Brooker, "Exponential Backoff And
Jitter", AWS Architecture Blog, 2015), behind what `Retry-After` asks for.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import stamina
import structlog
from pydantic import ValidationError

from client.events import SavedUpdate
from client.metrics import ClientMetrics
from client.participant import is_transient
from fedtier.documents import first_error
from fedtier.problems import BadRequest, DigestMismatch, Problem, StartupError
from fedtier.rounds import BaseRound, RoundStatus, UpdateReceipt
from fedtier.upstream import NotTrusted, Unreachable, Upstream

DEFAULT_WAIT: Final = 300.0
DEFAULT_RETRY_BUDGET: Final = 600.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0

Answer = TypeVar("Answer")


class ServerBusy(Exception):
    """The server answered, but each time so that the request had to come again, until there was no time left for it."""


class Outage:
    """Since when the server does not answer, known to all clients of a process.

    They take turns, so each would otherwise wait through a budget of its own, one after the other.
    """

    def __init__(self) -> None:
        self.since: float | None = None


class Transport:
    """The requests of one client, with retries.

    Parameters
    ----------
    upstream : Upstream
    client_id : str
    rng : random.Random
        Draws the jitter.
    wait : float
        Seconds that the server may take to be there when it is asked for the first time.
    retry_budget : float
        Seconds that every later request may go on, its retries included.
    clock : callable
        Monotonic seconds.
    outage : Outage
        Common to clients that take turns.
    metrics : ClientMetrics
        Common to them as well.
    """

    def __init__(
        self,
        upstream: Upstream,
        client_id: str,
        *,
        rng: random.Random,
        wait: float = DEFAULT_WAIT,
        retry_budget: float = DEFAULT_RETRY_BUDGET,
        clock: Callable[[], float] = time.monotonic,
        outage: Outage | None = None,
        metrics: ClientMetrics | None = None,
    ) -> None:
        self._upstream = upstream
        self._client_id = client_id
        self._wait = wait
        self._retry_budget = retry_budget
        self._clock = clock
        self._rng = rng
        self._outage = outage or Outage()
        self._metrics = metrics or ClientMetrics(clock)

    def first_status(self) -> RoundStatus:
        """Wait for the server, then return the round.

        Raises
        ------
        StartupError
            No server was there within the wait, or one of the two does not take the other: at a start a flag is wrong
            more likely than that a certificate is being renewed.
        Problem
            It refused.
        """
        try:
            return self._retrying(self._upstream.round_status, "--wait", self._wait, hopeless=(NotTrusted,))
        except NotTrusted as error:
            raise StartupError(str(error)) from None
        except (Unreachable, ServerBusy) as error:
            raise StartupError(f"{error}; start the server, or check --server and --wait") from None

    def round_status(self) -> RoundStatus:
        """Return the round.

        Raises
        ------
        Unreachable, ServerBusy
            The budget is spent, here and in the other requests.
        Problem
            A refusal that stays the same.
        """
        return self._within_budget(self._upstream.round_status)

    def fetch_model(self, base: BaseRound, destination: Path) -> None:
        """Download and verify a model; `destination` appears when it is complete.

        Raises
        ------
        Unreachable, ServerBusy, Problem, OSError
        """
        self._within_budget(lambda: self._upstream.download_model(base, destination))
        self._metrics.traffic.received("model", base.bytes)

    def upload(self, update: SavedUpdate, body: Path, before_end: Callable[[], None] | None = None) -> UpdateReceipt:
        """Send an update's file; return when the master has counted it.

        Parameters
        ----------
        update : SavedUpdate
        body : Path
        before_end : callable, optional
            Returns when the last bytes may be sent, as for `Upstream.put_file`; at a further try, when the first may.

        Raises
        ------
        Unreachable, ServerBusy, Problem, OSError
        """
        path = f"/v1/rounds/{update.round}/updates/{self._client_id}"
        tries = itertools.count()

        def send() -> UpdateReceipt:
            if next(tries) and before_end is not None:
                before_end()  # a server may have cut off the last try for the pause before its end
            self._metrics.traffic.sent("update", body.stat().st_size)
            return _receipt(self._upstream.put_file(path, body, sha256=update.sha256, before_end=before_end))

        return self._within_budget(send)

    def _within_budget(self, request: Callable[[], Answer]) -> Answer:
        return self._retrying(request, "--retry-budget", self._retry_budget)

    def _retrying(
        self,
        request: Callable[[], Answer],
        flag: str,
        seconds: float,
        hopeless: tuple[type[Exception], ...] = (),
    ) -> Answer:
        lost_since = self._outage.since
        started = self._clock() if lost_since is None else lost_since
        backoff = Backoff(
            deadline=started + seconds,
            clock=self._clock,
            rng=self._rng,
            client_id=self._client_id,
            hopeless=hopeless,
        )

        def pause_after(error: Exception) -> bool | float:
            pause = backoff(error)
            if pause is not False:
                self._metrics.retries.add_error(error)
            return pause

        try:
            for attempt in stamina.retry_context(on=pause_after, attempts=None, timeout=None):
                with attempt:
                    return self._answered(request)
        except Unreachable as error:
            if isinstance(error, hopeless):
                raise
            raise Unreachable(f"{error}, and {flag} {seconds:g} s is over") from error
        except Problem as problem:
            if not _worth_another_try(problem):
                raise
            if isinstance(problem, DigestMismatch):
                reason = f"what passes between here and {self._upstream.url} is damaged: {problem.detail}"
                raise ServerBusy(f"{reason}, and {flag} {seconds:g} s of further tries are over") from problem
            wish = "" if problem.retry_after is None else f" for {problem.retry_after:g} s"
            reason = f"{self._upstream.url} puts this off{wish}: {problem.detail}"
            raise ServerBusy(f"{reason}, and {flag} {seconds:g} s does not last until then") from problem
        raise AssertionError("stamina ends with an answer or an exception")

    def _answered(self, request: Callable[[], Answer]) -> Answer:
        try:
            answer = request()
        except Unreachable:
            self._outage.since = self._clock() if self._outage.since is None else self._outage.since
            raise
        except Problem:
            self._answers()
            raise
        self._answers()
        return answer

    def _answers(self) -> None:
        self._outage.since = None
        self._metrics.silence.broken()


def _receipt(document: dict[str, Any]) -> UpdateReceipt:
    try:
        return UpdateReceipt.model_validate(document)
    except ValidationError as error:
        raise BadRequest(f"the server's answer to an update is no receipt: {first_error(error)}") from None


class Backoff:
    """Decides after each failed try how long to pause, or that it was the last.

    Parameters
    ----------
    deadline : float
        On the clock; no pause ends behind it.
    clock : callable
    rng : random.Random
    client_id : str
        Stands in its log lines.
    hopeless : tuple of type
        Errors after which there is no other try.
    """

    def __init__(
        self,
        *,
        deadline: float,
        clock: Callable[[], float],
        rng: random.Random,
        client_id: str,
        hopeless: tuple[type[Exception], ...] = (),
    ) -> None:
        self._deadline = deadline
        self._hopeless = hopeless
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self._said = ""
        self._log = structlog.get_logger().bind(client_id=client_id)

    def __call__(self, error: Exception) -> bool | float:
        """Return the seconds to pause before the next try, or False."""
        if isinstance(error, self._hopeless) or not _worth_another_try(error):
            return False
        ceiling = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures, 30))
        self._failures += 1
        asked = getattr(error, "retry_after", None) or 0.0
        left = self._deadline - self._clock()
        if left <= 0 or asked > left:
            return False
        self._say(str(error), left)
        pause: float = asked + self._rng.uniform(0.0, ceiling)
        return min(pause, left)

    def _say(self, reason: str, left: float) -> None:
        """Log what is waited for, once for each reason and not for each try."""
        if reason != self._said:
            self._log.warning("trying again", reason=reason, for_seconds=round(left))
        self._said = reason


def _worth_another_try(error: Exception) -> bool:
    if isinstance(error, Problem):
        return is_transient(error) or isinstance(error, DigestMismatch)
    return isinstance(error, Unreachable)
