"""The master aggregator: the core and its threads, behind the questions that the HTTP side asks."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn

import structlog

from fedtier.admission import refuse_by_address
from fedtier.entries import Counted, Entry
from fedtier.metrics import RoundView, view_of
from fedtier.problems import Problem, RoundNotOpen, RoundOver, StartupError, Unavailable
from fedtier.rounds import (
    BaseRound,
    Contributor,
    PartialReceipt,
    RoundManifest,
    RoundPlan,
    RoundStatus,
    UpdateReceipt,
)
from fedtier.serving.downloads import ModelElsewhere, ModelFile
from fedtier.serving.models import ModelShelf
from fedtier.serving.pacing import FASTEST
from fedtier.serving.refusals import Refusals
from fedtier.serving.statedir import StateDirectory
from fedtier.serving.tier import Upload
from fedtier.serving.waiting import WaitingRoom
from fedtier.store import RoundStore, StoreCorrupt, StoreUnavailable
from master_aggregator.coordinator import (
    Action,
    Close,
    CloseAsked,
    Coordinator,
    DropBody,
    Event,
    NoteOverdue,
    Offered,
    Opened,
    OverdueNotNoted,
    PauseAsked,
    Record,
    Settle,
    StayOpen,
    Tick,
)
from master_aggregator.copying import CopyKeeper
from master_aggregator.history import History
from master_aggregator.insisting import Insistence
from master_aggregator.metrics import MasterMetrics
from master_aggregator.opening import OpenRound, Workshop, base_round
from master_aggregator.overdue import OverdueMark
from master_aggregator.planning import Rules
from master_aggregator.publisher import Publisher
from master_aggregator.recorder import Recorder
from master_aggregator.recovery import recover
from master_aggregator.scoreboard import Scoreboard
from master_aggregator.stillness import Stillness
from master_aggregator.summaries import Witnessed

PRESIGNED_SECONDS: Final = 3600
"""How long a redirect to S3 is good: time for a slow reader of a large model to come back for the rest."""
ANSWER_WITHIN: Final = 50.0
"""Seconds an upload waits for the disk before it is asked to come again."""
_LOOK_EVERY: Final = 30.0
"""Seconds between two looks whether the round stands still."""
_LAST_COPY: Final = 5.0
"""Seconds that the copy of the newest model may take at the end; the next start writes it otherwise."""
_LAST_LOOK: Final = 2.0
"""Seconds that TensorBoard's file may take at the end."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the master's shell takes from outside.

    Parameters
    ----------
    clock : callable
        Returns the time, with its zone.
    rng : random.Random
        Spreads tries of what does not work yet.
    die : callable
        Ends the process with a sentence.
    finished : callable
        Is told once the last round is published, its copy included.
    """

    clock: Callable[[], datetime]
    rng: random.Random
    die: Callable[[str], NoReturn]
    finished: Callable[[], None]


class MasterAggregator:
    """The master's side of `fedtier.serving.tier.Tier`.

    Parameters
    ----------
    store : RoundStore
    state : StateDirectory
    rules : Rules
    metrics : MasterMetrics
    surroundings : Surroundings
    redirect_models : bool
        Send who asks for a model to S3, by a URL that is good for a while.
    scoreboard : Scoreboard or None
        Writes down for TensorBoard what is published; started and stopped with the master.
    """

    def __init__(
        self,
        store: RoundStore,
        state: StateDirectory,
        rules: Rules,
        metrics: MasterMetrics,
        surroundings: Surroundings,
        *,
        redirect_models: bool = False,
        scoreboard: Scoreboard | None = None,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._redirect_models = redirect_models
        self._outside = surroundings
        self._shelf = ModelShelf(state.models, self._fetch_model)
        self._workshop = Workshop(rules, state, self._shelf, surroundings.clock, surroundings.die)
        self._state = state
        self._pause_mark = state.path / "paused"
        self._overdue_mark = OverdueMark(state.path)
        self._core = Coordinator()
        self._lock = threading.Lock()
        self._waiting = WaitingRoom()
        self._recorder = Recorder(state, self._tell, metrics, surroundings.die)
        self._publisher = Publisher(
            store,
            self._workshop,
            self._show_published,
            self._take_over,
            Insistence("a round waits to be published", self._workshop, metrics, surroundings.rng),
            metrics,
        )
        self._copies = CopyKeeper(
            store,
            self._workshop,
            Insistence("the copy of the newest model waits to be written", self._workshop, metrics, surroundings.rng),
            surroundings.finished,
        )
        self._scoreboard = scoreboard
        self._refusals = Refusals()
        self._timer: threading.Timer | None = None
        self._opened: OpenRound | None = None
        self._status: RoundStatus | None = None
        self._history = History(store)
        self._stillness = Stillness()
        self._ended = threading.Event()
        metrics.round.look = self._round_view

    def start(self) -> None:
        """Find the open round and start the threads.

        Raises
        ------
        StartupError
        """
        try:
            recovered = recover(self._store, self._state, self._workshop)
            overdue = self._overdue_mark.names(recovered.opened.plan)
        except Problem as problem:
            raise StartupError(f"the open round cannot be taken up: {problem.detail}") from None
        except OSError as error:
            raise StartupError(f"the state directory {self._state.path} cannot be used: {error}") from None
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        self._recorder.start()
        self._publisher.start()
        self._copies.start()
        if self._scoreboard is not None:
            self._scoreboard.start()
        if self._pause_mark.exists():
            self._tell(PauseAsked(True))
        self._take_over(recovered.opened, recovered.counted, closed=recovered.close is not None)
        if overdue:
            self._tell(CloseAsked(recovered.opened.plan.round))
        if recovered.close is not None:
            self._publisher.resume(recovered.opened, recovered.close)

    def close(self) -> None:
        """Bring to an end what is worth a moment; called after the last request was answered."""
        self._ended.set()
        self._copies.finish(_LAST_COPY)
        if self._scoreboard is not None:
            self._scoreboard.stop(_LAST_LOOK)

    def warn_if_still(self) -> None:
        """Log that the round gets no new contributors, where a warning of it is due."""
        status = self._status
        still = None if status is None else self._stillness.look(status, self._outside.clock())
        if status is not None and still is not None:
            structlog.get_logger().warning(
                "the round waits for contributors",
                round=status.round,
                attempt=status.attempt,
                state=status.state,
                for_seconds=round(still.seconds),
                counted=status.counted,
                threshold=status.threshold,
                missing=still.missing,
            )

    # What the HTTP side asks.

    def unready(self) -> str | None:
        """Return why the master cannot take work, or None."""
        return self._publisher.trouble() or self._copies.trouble()

    def status(self) -> RoundStatus:
        """Return the open round."""
        status = self._status
        if status is None:
            raise Unavailable("no round is open yet", retry_after=1)
        return status

    def admit(self, round_number: int, client_id: str | None) -> RoundPlan:
        """Return the open round's plan, or refuse an upload by its address."""
        with self._lock:
            plan, state = self._core.plan, self._core.state
        if plan is None:
            raise Unavailable("no round is open yet", retry_after=1)
        refuse_by_address(plan, state, round_number, client_id)
        return plan

    def receiving(self) -> AbstractContextManager[Upload]:
        """Do nothing: the master holds nothing back while bytes come."""
        return nullcontext(_Unwatched())

    def settle_update(self, entry: Entry, upload: Upload) -> UpdateReceipt:
        """Count an update; returns when it is durable."""
        outcome = self._settle(entry)
        client_id = entry.contributors[0].client_id
        return UpdateReceipt(round=outcome.round, attempt=outcome.attempt, client_id=client_id, sha256=outcome.sha256)

    def settle_partial(self, entry: Entry, upload: Upload, batch_id: str) -> PartialReceipt:
        """Count a partial; returns when it is durable."""
        outcome = self._settle(entry)
        return PartialReceipt(
            round=outcome.round, attempt=outcome.attempt, batch_id=batch_id, counted=len(entry.contributors)
        )

    def note_refused(self, refused: Mapping[str, int]) -> None:
        """Take note of refused updates, to be shown with the round that is published next."""
        self._refusals.add(refused)

    def model(self, round_number: int) -> ModelFile | ModelElsewhere:
        """Return the file of a published round's model."""
        base = self.status().base
        if round_number != base.round:
            _, model = self._history.find(round_number, base.round)
            base = base_round(round_number, model)
        try:
            if self._redirect_models:
                return ModelElsewhere(self._store.presign_model(base.round, base.sha256, PRESIGNED_SECONDS))
            return ModelFile(self._shelf.path(base), base.sha256)
        except (StoreUnavailable, StoreCorrupt) as error:
            raise Unavailable(str(error), retry_after=2) from error
        except OSError as error:
            raise self._state.refuse(error, wanted=base.bytes) from error

    def manifest(self, round_number: int) -> bytes:
        """Return a published round's manifest."""
        manifest_sha256, _ = self._history.find(round_number, self.status().base.round)
        try:
            return self._store.read_manifest(round_number, manifest_sha256)
        except (StoreUnavailable, StoreCorrupt) as error:
            raise Unavailable(str(error), retry_after=2) from error

    # What the operator asks.

    def close_round(self, round_number: int) -> RoundStatus:
        """Close the open round with what is counted, as at its deadline."""
        plan = self.status()
        if round_number != plan.round:
            kind = RoundOver if round_number < plan.round else RoundNotOpen
            raise kind(f"round {plan.round} is open, not {round_number}", round=plan.round, attempt=plan.attempt)
        if plan.state == "finished":
            raise RoundNotOpen(
                f"the last round, {plan.final_round}, is published; no further one opens",
                round=plan.round,
                attempt=plan.attempt,
            )
        try:
            self._overdue_mark.set(plan)
        except OSError as error:
            raise self._state.refuse(error) from error
        self._tell(CloseAsked(round_number))
        return self.status()

    def pause(self, paused: bool) -> RoundStatus:
        """Stop taking uploads, or go on; lasts beyond a restart."""
        try:
            if paused:
                self._pause_mark.touch()
            else:
                self._pause_mark.unlink(missing_ok=True)
        except OSError as error:
            raise self._state.refuse(error) from error
        self._tell(PauseAsked(paused))
        return self.status()

    # How it comes about.

    def _settle(self, entry: Entry) -> Counted:
        ticket = self._waiting.enter()
        self._tell(Offered(ticket, entry))
        return self._waiting.wait(ticket, ANSWER_WITHIN)

    def _tell(self, event: Event) -> None:
        with self._lock:
            actions = self._core.handle_event(event)
            self._show()
            for action in actions:
                self._perform(action)
        for action in actions:
            self._perform_unlocked(action)

    def _perform(self, action: Action) -> None:
        opened = self._opened
        match action:
            case Settle(ticket, outcome):
                self._waiting.settle(ticket, outcome)
            case Record():
                assert opened is not None, "the core claims entries of an open round only"
                self._recorder.put(opened, action)
            case Close(_, contributors):
                assert opened is not None, "the core closes an open round only"
                self._publisher.close(opened, contributors)

    def _perform_unlocked(self, action: Action) -> None:
        """Do what others need not wait for: disk and log take their time."""
        match action:
            case NoteOverdue(plan):
                self._note_overdue(plan)
            case DropBody(entry):
                self._state.drop(entry.body.path)
            case StayOpen(plan, counted, missing):
                structlog.get_logger().warning(
                    "the deadline passed without the quorum; the round stays open",
                    round=plan.round,
                    attempt=plan.attempt,
                    counted=counted,
                    missing=missing,
                )

    def _note_overdue(self, plan: RoundPlan) -> None:
        try:
            self._overdue_mark.set(plan)
        except OSError as error:
            problem = self._state.refuse(error)
            structlog.get_logger().error(
                "no early close could be noted", round=plan.round, attempt=plan.attempt, reason=problem.detail
            )
            self._tell(OverdueNotNoted(plan.round, problem))
        else:
            self._tell(CloseAsked(plan.round))

    def _show(self) -> None:
        """Renew what `GET /v1/round` shows, if it changed; the same object means nothing did."""
        plan, shown = self._core.plan, self._status
        if plan is None:
            return
        now = (plan.pair, self._core.state, self._core.counted)
        if shown is None or ((shown.round, shown.attempt), shown.state, shown.counted) != now:
            self._status = _status(plan, self._core)

    def _take_over(self, opened: OpenRound, counted: tuple[Contributor, ...] = (), *, closed: bool = False) -> None:
        """Let the core and everyone who asks know of the round that is open now."""
        plan = opened.plan
        structlog.get_logger().info(
            "round opened", round=plan.round, attempt=plan.attempt, counted=len(counted), threshold=plan.threshold
        )
        self._opened = opened
        self._tell(Opened(plan, counted, closed))
        self._copies.want(plan)
        if self._timer is not None:
            self._timer.cancel()
        if plan.deadline is not None:
            self._wait_for(plan.deadline)

    def _show_published(self, manifest: RoundManifest, publishing: float) -> None:
        self._metrics.publish.observe(publishing)
        self._metrics.rounds.observe((manifest.published_at - manifest.opened_at).total_seconds())
        refused = self._refusals.take()
        if self._scoreboard is not None:
            self._scoreboard.published(manifest, Witnessed(publishing, refused))

    def _wait_for(self, deadline: datetime) -> None:
        """Send the core a `Tick` at the deadline, by this machine's clock."""
        left = (deadline - self._outside.clock()).total_seconds()
        if left <= 0:
            self._tell(Tick(self._outside.clock()))
            return
        self._timer = threading.Timer(min(left, threading.TIMEOUT_MAX), self._wait_for, (deadline,))
        self._timer.daemon = True
        self._timer.start()

    def _fetch_model(self, base: BaseRound, destination: Path) -> None:
        self._store.download_model(base.round, base.sha256, destination)
        self._metrics.traffic.received("model", base.bytes)

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_EVERY):
            self.warn_if_still()

    def _round_view(self) -> RoundView | None:
        status, opened = self._status, self._opened
        if status is None or opened is None:
            return None
        return view_of(status, (self._outside.clock() - opened.journal.opened_at).total_seconds())


class _Unwatched:
    def bytes_came(self) -> None:
        pass


def _status(plan: RoundPlan, core: Coordinator) -> RoundStatus:
    fields = {name: getattr(plan, name) for name in RoundPlan.model_fields}
    return RoundStatus(**fields, state=core.state, counted=core.counted, poll_after=FASTEST)
