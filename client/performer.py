"""Performs what one client's `Participant` decides, with a real server, disk, clock and task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import structlog

from client.events import (
    Accepted,
    Discard,
    Event,
    Failed,
    FetchModel,
    ModelReady,
    Note,
    Poll,
    PutOff,
    Refused,
    RoundSeen,
    SavedUpdate,
    Step,
    Stop,
    StopAsked,
    Tell,
    Train,
    Trained,
    Upload,
)
from client.models import BaseModels
from client.options import ClientOptions, Surroundings
from client.participant import Participant
from client.stopping import Patience, patience_with
from client.task import Task
from client.training import TrainedUpdate, fit_config, train_update
from client.transport import ServerBusy, Transport
from client.updates import NotDurable, SavedUpdates
from fedtier.crash_points import CrashPoint, reach
from fedtier.metrics import Outcome
from fedtier.problems import Problem
from fedtier.rounds import BaseRound, RoundStatus
from fedtier.tensors import TensorFile
from fedtier.upstream import Unreachable

_JITTER: Final = (0.5, 1.5)
_UPLOAD_OUTCOMES: Final[Mapping[type[Event], Outcome]] = {
    Accepted: "counted",
    Refused: "refused",
    PutOff: "unavailable",
}


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is to be done for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """The client has stopped; `ok` is whether it did what it was asked to."""

    ok: bool


Turn: TypeAlias = Pause | Done
"""What a client's turn ends with."""


class Performer:
    """Performs decisions one after the other.

    Parameters
    ----------
    options : ClientOptions
    surroundings : Surroundings
    participant : Participant
    transport : Transport
    updates : SavedUpdates
    load_task : callable
        Makes the task; called once, by `prepare`.
    """

    def __init__(
        self,
        options: ClientOptions,
        surroundings: Surroundings,
        *,
        participant: Participant,
        transport: Transport,
        updates: SavedUpdates,
        load_task: Callable[[], Task],
    ) -> None:
        self._options = options
        self._surroundings = surroundings
        self._stopping = surroundings.stopping
        self._metrics = surroundings.metrics
        self._participant = participant
        self._transport = transport
        self._updates = updates
        self._models = BaseModels(options.state_dir)
        self._load_task = load_task
        self._task: Task | None = None
        self._done: Done | None = None
        self._ask = transport.first_status
        self._step_seconds = 0.0
        self._published = 0
        self._log = structlog.get_logger().bind(client_id=options.client_id)

    @property
    def failed(self) -> bool:
        """Whether the client has stopped without having done what it was asked to."""
        return self._done is not None and not self._done.ok

    def prepare(self) -> None:
        """Load the task, before the first turn.

        Raises
        ------
        StartupError
        BrokenOff
            The client was told to stop.
        """
        self._task = self._stopping.breakable(Patience.NONE, self._load_task)

    def advance(self) -> Turn:
        """Ask for the round, and do all there is to do until it is time to wait.

        Raises
        ------
        StartupError
            The first time: no server was there within the wait.
        BrokenOff
            The client was told to stop, and begins nothing more.
        """
        event: Event = self._look()
        while True:
            if isinstance(event, RoundSeen):
                self._published = event.status.round - 1
                self._metrics.saw(event.status)
            decision = self._participant.handle_event(event)
            for note in decision.notes:
                self._take(note)
            match decision.step:
                case Stop() as stop:
                    return self._stop(stop)
                case Poll(after):
                    self._tidy(self._updates.give_back_room)  # others may train before this client does again
                    return Pause(after * self._surroundings.rng.uniform(*_JITTER))
                case step:
                    event = self._perform(step)

    def stop(self) -> None:
        """End because the client was told to; without effect where it has ended."""
        if self._done is None:
            decision = self._participant.handle_event(StopAsked())
            assert isinstance(decision.step, Stop), "whoever is told to stop stops"
            self._stop(decision.step)

    def _look(self) -> Event:
        ask, self._ask = self._ask, self._transport.round_status
        return self._outcome(lambda: RoundSeen(ask()), Patience.NONE)

    def _perform(self, step: Step) -> Event:
        match step:
            case FetchModel(base):
                return self._outcome(lambda: self._fetch(base), patience_with(step))
            case Train(plan):
                return self._train(plan, patience_with(step))
            case Upload(update):
                with self._metrics.upload.time():
                    event = self._outcome(lambda: self._send(update), patience_with(step))
                self._metrics.uploads.ended("update", _UPLOAD_OUTCOMES.get(type(event), "failed"))
                return event
        raise AssertionError(f"{step} is performed by nobody")

    def _outcome(self, perform: Callable[[], Event], patience: Patience | None) -> Event:
        """Return what came of something that may fail; without a patience it is not broken off either."""
        started = self._surroundings.clock()
        try:
            return perform() if patience is None else self._stopping.breakable(patience, perform)
        except Problem as problem:
            self._metrics.refusals.add(problem.name)
            return Refused(problem)
        except ServerBusy as error:
            return PutOff(str(error))
        except Unreachable as error:
            return Failed(str(error))
        except OSError as error:
            reason = f"the state directory {self._options.state_dir} cannot be used: {error}"
            return Failed(reason, lost=isinstance(error, NotDurable))
        finally:
            self._step_seconds = self._surroundings.clock() - started

    def _fetch(self, base: BaseRound) -> ModelReady:
        self._models.require(base, self._transport.fetch_model)
        reach(CrashPoint.MODEL_FETCHED, base.round + 1)
        return ModelReady(base)

    def _send(self, update: SavedUpdate) -> Accepted:
        receipt = self._transport.upload(update, self._updates.path(update), self._updates.await_durable)
        self._updates.received(update)
        reach(CrashPoint.UPDATE_ANSWERED, update.round)
        return Accepted(receipt)

    def _train(self, plan: RoundStatus, patience: Patience) -> Event:
        task = self._task
        assert task is not None, "a client is prepared before its first turn"
        config = fit_config(
            plan,
            client_id=self._options.client_id,
            run_seed=self._options.seed,
            epochs=self._options.epochs,
        )
        self._tell("training", round=plan.round, attempt=plan.attempt, epochs=config.epochs)
        started = self._surroundings.clock()
        try:
            model = TensorFile(self._models.path(plan.base))
            upload_dtype = self._options.upload_dtype
            result = self._stopping.breakable(patience, lambda: train_update(task, model, plan, config, upload_dtype))
        except Problem as problem:
            return Refused(problem)
        except Exception as error:
            # A task is anybody's code: what goes wrong in it ends this client, and no other that this process plays.
            self._log.exception("the task failed", round=plan.round)
            return Failed(
                f"the task {self._options.task} failed in round {plan.round}: {type(error).__name__}: {error}"
            )
        return self._outcome(lambda: Trained(self._save(plan, result, self._surroundings.clock() - started)), None)

    def _save(self, plan: RoundStatus, result: TrainedUpdate, seconds: float) -> SavedUpdate:
        reach(CrashPoint.UPDATE_TRAINED, plan.round)
        update = self._updates.save(
            (plan.round, plan.base.sha256),
            result.arrays,
            result.specs,
            num_examples=result.num_examples,
            metrics=result.metrics,
        )
        reach(CrashPoint.UPDATE_SAVED, plan.round)
        self._metrics.trained(seconds, result.num_examples)
        self._tell("trained", attempt=plan.attempt, seconds=seconds, **_facts(update))
        return update

    def _take(self, note: Note) -> None:
        match note:
            case Discard(update):
                reach(CrashPoint.UPDATE_SETTLED, update.round)
                self._tidy(lambda: self._updates.discard(update))
            case Tell(event, update, attempt, detail):
                self._tell(event, attempt=attempt, detail=detail, seconds=self._step_seconds, **_facts(update))

    def _tidy(self, clear_away: Callable[[], None]) -> None:
        try:
            clear_away()
        except OSError as error:
            # It stays for the next start, which settles it again; nobody counts it twice.
            self._log.warning("a settled update cannot be deleted", round=self._published, reason=str(error))

    def _stop(self, stop: Stop) -> Done:
        self._done = Done(stop.ok)
        self._tell("finished", round=self._published, ok=stop.ok, detail=stop.reason)
        try:
            self._updates.close()
        except OSError as error:
            self._log.warning("an update may not outlive this machine's next crash", reason=str(error))
        return self._done

    def _tell(self, event: str, **facts: Any) -> None:
        if "seconds" in facts:
            facts["seconds"] = round(facts["seconds"], 3)
        level = self._log.info if facts.get("ok", True) else self._log.error
        level(event, **facts)
        if self._options.report is not None:
            self._options.report({"event": event, "client_id": self._options.client_id, **facts})


def _facts(update: SavedUpdate) -> dict[str, Any]:
    return {"round": update.round, "num_examples": update.num_examples, "metrics": dict(update.metrics)}
