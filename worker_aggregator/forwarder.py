"""The thread that sends sealed batches upstream, again and again until an answer comes."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import structlog

from fedtier.crash_points import CrashPoint, reach
from fedtier.entries import Received
from fedtier.logs import named
from fedtier.problems import DigestMismatch, Problem
from fedtier.reminders import trouble_reminder
from fedtier.serving.statedir import StateDirectory
from fedtier.upstream import Unreachable, Upstream, file_sha256
from worker_aggregator.events import Batch, BatchCounted, BatchRefused, Discard, Event
from worker_aggregator.metrics import WorkerMetrics
from worker_aggregator.sealer import SealedBatch

Order: TypeAlias = SealedBatch | Discard

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 5.0
_RETRIED: Final = frozenset({429, 500, 502, 503, 504})


class Forwarder:
    """Sends one batch at a time.

    Parameters
    ----------
    upstream : Upstream
        Used by this thread alone.
    state : StateDirectory
        Where batches lie.
    tell : callable
        Takes the answer as an event for the core.
    metrics : WorkerMetrics
    clock : callable
        Monotonic seconds.
    rng : random.Random
        Draws the jitter.
    """

    def __init__(
        self,
        upstream: Upstream,
        state: StateDirectory,
        tell: Callable[[Event], None],
        metrics: WorkerMetrics,
        *,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._upstream = upstream
        self._state = state
        self._tell = tell
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._body: Received | None = None
        self._received: Received | None = None

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="forwarder", daemon=True).start()

    def put(self, order: Order) -> None:
        """Queue an order; returns at once."""
        self._orders.put(order)

    def stop(self) -> None:
        """Send nothing more; whoever waits is told by the broken connection to send again."""
        self._stopped.set()

    def _run(self) -> None:
        while True:
            order = self._orders.get()
            match order:
                case SealedBatch(batch, body):
                    self._body = body
                    self._send(batch, body)
                case Discard():
                    self._discard()

    def _discard(self) -> None:
        """Let go of the file: it is written over only if the upstream had all of it, for the kernel sends its pages."""
        if self._body is None:
            return
        if self._body is self._received:
            self._state.drop(self._body.path)
        else:
            self._state.delete(self._body.path)
        self._body = self._received = None

    def _send(self, batch: Batch, body: Received) -> None:
        with self._metrics.forward.time():
            self._send_until_answered(batch, body)

    def _send_until_answered(self, batch: Batch, body: Received) -> None:
        pause, is_first_try = FIRST_PAUSE, True
        waiting = _Waiting(batch, self._clock)
        log, clients = waiting.log, named(c for entry in batch.entries.values() for c in entry.client_ids)
        self._metrics.partial(clients["contributors"], _size(body))
        while not self._stopped.is_set():
            try:
                self._put(batch, body)
            except Unreachable as error:
                waiting.say("the upstream does not answer", str(error))
                self._metrics.retries.add_error(error)
                wanted = None
            except OSError as error:
                self._tell(BatchRefused(self._state.refuse(error)))
                return
            except Problem as problem:
                if not self._worth_another_try(batch, body, problem):
                    reach(CrashPoint.BATCH_ANSWERED, batch.plan.round)
                    log.info("the upstream refused a batch", problem=problem.name, reason=problem.detail, **clients)
                    self._metrics.batches.add(problem.name)
                    self._tell(BatchRefused(problem))
                    return
                waiting.say("the upstream cannot take a batch now", problem.detail)
                self._metrics.retries.add_error(problem)
                wanted = problem.retry_after
            else:
                reach(CrashPoint.BATCH_ANSWERED, batch.plan.round)
                self._received = body if is_first_try else None  # of an earlier try some may be on its way still
                log.info("batch counted", **clients)
                self._metrics.batches.add("counted")
                self._metrics.counted(clients["contributors"])
                self._tell(BatchCounted())
                return
            # Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
            self._stopped.wait(max(self._rng.uniform(0, pause), min(wanted or 0.0, LONGEST_PAUSE)))
            pause, is_first_try = min(2 * pause, LONGEST_PAUSE), False

    def _worth_another_try(self, batch: Batch, body: Received, problem: Problem) -> bool:
        if isinstance(problem, DigestMismatch):
            # Damaged on the way, unless the file itself is: that one would be refused for ever.
            with suppress(OSError):
                return file_sha256(body.path) == body.sha256
            return False
        return may_be_taken_later(batch, problem)

    def _put(self, batch: Batch, body: Received) -> None:
        path = f"/v1/rounds/{batch.plan.round}/partials/{batch.batch_id}"
        self._metrics.traffic.sent("partial", _size(body))
        answer = self._upstream.put_file(path, body.path, sha256=body.sha256)
        if (answer.get("round"), answer.get("attempt")) != batch.plan.pair:
            raise Unreachable(f"{self._upstream.url} answered a partial with no receipt of its round and attempt")


class _Waiting:
    """Says, ever less often, that a batch is not taken."""

    def __init__(self, batch: Batch, clock: Callable[[], float]) -> None:
        self.log = structlog.get_logger().bind(round=batch.plan.round, attempt=batch.plan.attempt, batch=batch.batch_id)
        self._clock = clock
        self._since = clock()
        self._reminder = trouble_reminder()
        self._event = ""

    def say(self, event: str, reason: str) -> None:
        if event != self._event:
            self._event, self._reminder = event, trouble_reminder()
        lasted = self._clock() - self._since
        if self._reminder.due(lasted):
            self.log.warning(event, reason=reason, for_seconds=round(lasted, 1))


def _size(body: Received) -> int:
    """Return a file's bytes; sending it says what is wrong with one that is not there."""
    with suppress(OSError):
        return body.path.stat().st_size
    return 0


def may_be_taken_later(batch: Batch, problem: Problem) -> bool:
    """Return whether a batch that was refused is to be sent again as it is: the refusal is no answer to it."""
    return _is_of_an_older_attempt(batch, problem) or int(problem.members.get("status", problem.status)) in _RETRIED


def _is_of_an_older_attempt(batch: Batch, problem: Problem) -> bool:
    """Return whether a 409 speaks of an earlier round or attempt than the batch: not an answer to it."""
    round_number, attempt = problem.members.get("round"), problem.members.get("attempt")
    if problem.status != 409 or not isinstance(round_number, int) or not isinstance(attempt, int):
        return False
    return (round_number, attempt) < batch.plan.pair
