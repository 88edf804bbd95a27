"""A worker aggregator: the core and its threads, behind the questions that the HTTP side asks."""

from __future__ import annotations

import itertools
import math
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from fedtier.admission import refuse_by_address
from fedtier.entries import Counted, Entry
from fedtier.metrics import RoundView, view_of
from fedtier.problems import (
    NotFound,
    Problem,
    RoundOver,
    Unavailable,
)
from fedtier.rounds import BaseRound, PartialReceipt, RoundPlan, RoundStatus, UpdateReceipt, parse_manifest
from fedtier.serving.downloads import ModelElsewhere, ModelFile
from fedtier.serving.models import ModelShelf
from fedtier.serving.refusals import Refusals
from fedtier.serving.statedir import StateDirectory
from fedtier.serving.tier import Upload
from fedtier.serving.waiting import WaitingRoom
from fedtier.upstream import Unreachable, Upstream
from worker_aggregator.batch import STALLED_AFTER, Batcher
from worker_aggregator.events import (
    Action,
    BytesCame,
    Discard,
    DropBody,
    Event,
    Offered,
    RoundSeen,
    Seal,
    Settle,
    Tick,
    UploadEnded,
)
from worker_aggregator.follower import Follower
from worker_aggregator.forwarder import Forwarder
from worker_aggregator.metrics import WorkerMetrics
from worker_aggregator.sealer import Sealer

ANSWER_WITHIN: Final = 25.0
"""Seconds an upload waits for the upstream before it is asked to come again; its entry stays in the batch."""
LOST_AFTER: Final = 5.0
"""Seconds without the upstream after which uploads are refused before their bodies are read."""
NEWS_WITHIN: Final = 1.0
"""Seconds a request waits for news of the first or the next round."""
_WAIT_FOR_FIRST: Final = 4
"""Requests that wait for the first round at once: they have no slots, and half the threads without one stay free."""
_TOLD_EVERY: Final = STALLED_AFTER / 4


@dataclass(slots=True)
class _Incoming:
    """An upload that the core knows by its number, and hears of before it would take it for one that stands still."""

    number: int
    tell: Callable[[Event], None]
    clock: Callable[[], float]
    told_at: float = -math.inf

    def bytes_came(self) -> None:
        now = self.clock()
        if now >= self.told_at + _TOLD_EVERY:
            self.told_at = now
            self.tell(BytesCame(self.number))


class WorkerAggregator:
    """The worker's side of `fedtier.serving.tier.Tier`.

    Parameters
    ----------
    connect : callable
        Makes a connection to the upstream; one for each thread.
    state : StateDirectory
    batcher : Batcher
    metrics : WorkerMetrics
    clock : callable
        Monotonic seconds.
    rng : random.Random
        Spreads polls and tries of many workers.
    """

    def __init__(
        self,
        connect: Callable[[], Upstream],
        state: StateDirectory,
        batcher: Batcher,
        metrics: WorkerMetrics,
        *,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._connect = connect
        self._state = state
        self._core = batcher
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._timer = threading.Condition(self._lock)
        self._wakes_at = math.inf
        self._first_round = threading.Semaphore(_WAIT_FOR_FIRST)
        self._uploads = itertools.count(1)
        self._waiting = WaitingRoom()
        self._status: RoundStatus | None = None
        self._plan: RoundPlan | None = None
        self._idle: list[Upstream] = []  # one, where nobody uses it: not every model needs a connection of its own
        self._shelf = ModelShelf(state.models, self._fetch_model)
        self._forwarder = Forwarder(connect(), state, self._tell, metrics, clock=clock, rng=rng)
        self._sealer = Sealer(state, self._forwarder.put, self._tell, metrics)
        self._refusals = Refusals()
        self._follower = Follower(connect(), self._see, self._refusals, metrics.silence, clock=clock, rng=rng)
        self._log = structlog.get_logger()
        self._seen_at = clock()
        metrics.round.look = self._round_view

    def start(self) -> None:
        """Start the threads."""
        self._forwarder.start()
        self._sealer.start()
        threading.Thread(target=self._keep_time, name="timer", daemon=True).start()
        self._follower.start()

    def close(self) -> None:
        """Stop sending; called after the last request was answered."""
        self._forwarder.stop()

    # What the HTTP side asks.

    def unready(self) -> str | None:
        """Return why the worker cannot take work, or None."""
        trouble = self._follower.trouble()
        if trouble is not None:
            return trouble[0]
        return None if self._status is not None else "the upstream's round is not known yet"

    def status(self) -> RoundStatus:
        """Return the upstream's round as last seen."""
        status = self._status
        if status is None and self._first_round.acquire(blocking=False):
            try:
                with self._lock:
                    self._news.wait_for(lambda: self._status is not None, NEWS_WITHIN)
            finally:
                self._first_round.release()
            status = self._status
        if status is None:
            raise Unavailable(self.unready() or "the upstream's round is not known yet", retry_after=1)
        return status

    def admit(self, round_number: int, client_id: str | None) -> RoundPlan:
        """Return the open round's plan, or refuse an upload by its address."""
        if round_number == self.status().round + 1:
            self._wait_for_round(round_number)
        with self._lock:
            status, plan = self._status, self._plan
        assert status is not None, "a round was known above"
        assert plan is not None, "a status comes with its plan"
        refuse_by_address(plan, status.state, round_number, client_id)
        trouble = self._follower.trouble()
        if trouble is not None and self._clock() - trouble[1] > LOST_AFTER:
            raise Unavailable(trouble[0], retry_after=2)
        return plan

    @contextmanager
    def receiving(self) -> Iterator[Upload]:
        """Hold the open batch back while bytes come."""
        upload = _Incoming(next(self._uploads), self._tell, self._clock)
        upload.bytes_came()
        try:
            yield upload
        finally:
            self._tell(UploadEnded(upload.number))

    def settle_update(self, entry: Entry, upload: Upload) -> UpdateReceipt:
        """Count an update; returns on the upstream's answer."""
        outcome = self._settle(entry, upload)
        client_id = entry.contributors[0].client_id
        return UpdateReceipt(round=outcome.round, attempt=outcome.attempt, client_id=client_id, sha256=outcome.sha256)

    def settle_partial(self, entry: Entry, upload: Upload, batch_id: str) -> PartialReceipt:
        """Count a partial of a worker further down; returns on the upstream's answer."""
        outcome = self._settle(entry, upload)
        return PartialReceipt(
            round=outcome.round, attempt=outcome.attempt, batch_id=batch_id, counted=len(entry.contributors)
        )

    def note_refused(self, refused: Mapping[str, int]) -> None:
        """Take note of refused updates, to be reported with the next poll."""
        self._refusals.add(refused)

    def model(self, round_number: int) -> ModelFile | ModelElsewhere:
        """Return the file of a published round's model."""
        if round_number == self.status().round:
            self._wait_for_round(round_number + 1)  # somebody heard sooner than this worker that it is published
        status = self.status()
        trouble = self._follower.trouble()
        if round_number >= status.round and trouble is not None:
            raise Unavailable(trouble[0], retry_after=1)
        if round_number >= status.round:
            raise NotFound(f"round {round_number} is not published; the newest is {status.base.round}")
        base = status.base if round_number == status.base.round else self._published(round_number)
        try:
            return ModelFile(self._shelf.path(base), base.sha256)
        except OSError as error:
            raise self._state.refuse(error, wanted=base.bytes) from error

    def manifest(self, round_number: int) -> bytes:
        """Return a published round's manifest, as the upstream has it."""
        with self._asking() as upstream:
            return upstream.manifest(round_number)

    # How it comes about.

    def _settle(self, entry: Entry, upload: Upload) -> Counted:
        assert isinstance(upload, _Incoming), "uploads come from `receiving`"
        ticket = self._waiting.enter()
        self._tell(Offered(ticket, entry, upload.number))
        return self._waiting.wait(ticket, ANSWER_WITHIN)

    def _tell(self, event: Event) -> None:
        with self._lock:
            now = self._clock()
            for action in self._core.handle_event(event, now):
                self._perform(action)
            at = self._core.wake_at(now)
            if at is not None and at < self._wakes_at:
                self._timer.notify()

    def _perform(self, action: Action) -> None:
        match action:
            case Settle(ticket, outcome):
                self._waiting.settle(ticket, outcome)
                if isinstance(outcome, RoundOver):
                    self._follower.hurry()
            case Seal() | DropBody():
                self._sealer.put(action)
            case Discard():
                self._forwarder.put(action)

    def _keep_time(self) -> None:
        """Send the core a `Tick` when it wants one."""
        while True:
            with self._lock:
                now = self._clock()
                at = self._core.wake_at(now)
                if at is None or at > now:
                    self._wakes_at = math.inf if at is None else at
                    self._timer.wait(None if at is None else at - now)
                    continue
            self._tell(Tick())

    def _see(self, status: RoundStatus) -> None:
        if status is self._status:
            return
        news = self._plan is None or (status.round, status.attempt) > self._plan.pair
        if self._plan is not None and (status.round, status.attempt) < self._plan.pair:
            return
        plan = status.plan
        if news:
            self._log.info("round seen", round=status.round, attempt=status.attempt, state=status.state)
            self._tell(RoundSeen(plan))
        with self._lock:
            self._plan = plan if news else self._plan
            self._seen_at = self._clock() if news else self._seen_at
            self._status = status
            self._news.notify_all()
        if news:
            # Not by the follower itself, which would hear of nothing newer until a large model is here.
            threading.Thread(target=self._prefetch, args=(status.base,), name="prefetch", daemon=True).start()

    def _round_view(self) -> RoundView | None:
        status = self._status
        return None if status is None else view_of(status, self._clock() - self._seen_at)

    def _prefetch(self, base: BaseRound) -> None:
        try:
            self._shelf.path(base)
        except OSError as error:
            reason = self._state.refuse(error, wanted=base.bytes).detail
        except Problem as problem:
            reason = problem.detail
        else:
            return
        self._log.warning("the model could not be fetched ahead", round=base.round, reason=reason)

    def _fetch_model(self, base: BaseRound, destination: Path) -> None:
        with self._asking() as upstream:
            upstream.download_model(base, destination)
        self._metrics.traffic.received("model", base.bytes)

    @contextmanager
    def _asking(self) -> Iterator[Upstream]:
        """Give a connection upstream; of the refusals there only "nothing is there" is one of what was asked here."""
        try:
            upstream = self._idle.pop()
        except IndexError:
            upstream = self._connect()
        try:
            yield upstream
        except Unreachable as error:
            raise Unavailable(str(error), retry_after=1) from error
        except NotFound:
            raise
        except Problem as problem:
            raise Unavailable(f"the upstream refuses: {problem.detail}", retry_after=2) from problem
        finally:
            if self._idle:
                upstream.close()
            else:
                self._idle.append(upstream)

    def _published(self, round_number: int) -> BaseRound:
        model = parse_manifest(self.manifest(round_number)).model
        url = f"/v1/rounds/{round_number}/model"
        return BaseRound(round=round_number, sha256=model.sha256, bytes=model.bytes, url=url)

    def _wait_for_round(self, round_number: int) -> None:
        self._follower.hurry()
        with self._lock:
            self._news.wait_for(lambda: self._status is not None and self._status.round >= round_number, NEWS_WITHIN)
