"""Runs one client: performs what `Participant` decides, with a real server, disk, clock and task."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

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
    Refused,
    RoundSeen,
    SavedUpdate,
    Step,
    Stop,
    Tell,
    Train,
    Trained,
    Upload,
)
from client.models import BaseModels
from client.participant import Participant
from client.task import FitResult, Task, load_task
from client.training import fit_config, train_update
from client.transport import DEFAULT_RETRY_BUDGET, DEFAULT_WAIT, Transport
from client.updates import SavedUpdates
from fedtier.problems import BadRequest, Problem, StartupError
from fedtier.rounds import BaseRound, RoundStatus, require_id
from fedtier.tensors import TensorFile
from fedtier.upstream import Unreachable, Upstream

_JITTER: Final = (0.5, 1.5)


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """What one client is told at its start.

    Parameters
    ----------
    server : str
        Address of the server one tier up, ``http://host:port``.
    client_id : str
    data : Path
        What the task is handed, for example a shard.
    state_dir : Path
        This client's own; keeps updates until they are settled.
    task : str
        See `client.task.load_task`.
    epochs : int, optional
        Instead of the round's.
    rounds : int, optional
        The last round to reach; without it, go on until the federation is finished.
    wait : float
        Seconds that the server may take to be there.
    retry_budget : float
        Seconds that a later request may go on, its retries included.
    seed : int
        Of the run; every fit gets one derived from it, the client's id and the round.
    token : str, optional
        Presented to the server.
    report : callable, optional
        Gets each fact as a flat mapping that JSON can hold; ``event`` says which.
    """

    server: str
    client_id: str
    data: Path
    state_dir: Path
    task: str = "mnist_cnn"
    epochs: int | None = None
    rounds: int | None = None
    wait: float = DEFAULT_WAIT
    retry_budget: float = DEFAULT_RETRY_BUDGET
    seed: int = 0
    token: str | None = field(default=None, repr=False)
    report: Callable[[Mapping[str, Any]], None] | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a client takes from the machine, so that a test can bring its own.

    Parameters
    ----------
    sleep : callable
        Waits some seconds.
    clock : callable
        Monotonic seconds.
    rng : random.Random
        Spreads polls and retries of many clients.
    """

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)


def run_client(options: ClientOptions, surroundings: Surroundings | None = None) -> int:
    """Take part in rounds until there is nothing left to do.

    Returns
    -------
    int
        Exit status: 0 when the last round was reached or the federation finished.

    Raises
    ------
    StartupError
        An option cannot be, or no server was there in time.
    """
    chosen = surroundings or Surroundings()
    _require_possible(options)
    try:
        options.state_dir.mkdir(parents=True, exist_ok=True)
        updates = SavedUpdates(options.state_dir)
        found = updates.found()
    except OSError as error:
        raise StartupError(f"the state directory {options.state_dir} cannot be used: {error}") from None
    task = load_task(options.task, options.data)
    participant = Participant(options.client_id, last_round=options.rounds, saved=found)
    with Upstream(options.server, token=options.token) as upstream:
        transport = Transport(
            upstream,
            options.client_id,
            wait=options.wait,
            retry_budget=options.retry_budget,
            clock=chosen.clock,
            rng=chosen.rng,
        )
        return _Client(options, chosen, participant=participant, transport=transport, updates=updates, task=task).run()


def _require_possible(options: ClientOptions) -> None:
    try:
        require_id(options.client_id, "client")
    except BadRequest as problem:
        raise StartupError(f"{problem.detail}; choose another --client-id") from None
    parts = urlsplit(options.server)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise StartupError(f"the server {options.server!r} is no address; give --server as http://host:port")
    if options.epochs is not None and options.epochs < 1:
        raise StartupError(f"--epoch is {options.epochs}; train for at least 1")
    if options.rounds is not None and options.rounds < 0:
        raise StartupError(f"--rounds is {options.rounds}; name a round from 0 on")
    if not options.wait >= 0:
        raise StartupError(f"--wait is {options.wait:g} seconds; give 0 or more")


class _Client:
    """Performs decisions one after the other."""

    def __init__(
        self,
        options: ClientOptions,
        surroundings: Surroundings,
        *,
        participant: Participant,
        transport: Transport,
        updates: SavedUpdates,
        task: Task,
    ) -> None:
        self._options = options
        self._surroundings = surroundings
        self._participant = participant
        self._transport = transport
        self._updates = updates
        self._models = BaseModels(options.state_dir)
        self._task = task
        self._step_seconds = 0.0
        self._published = 0
        self._log = structlog.get_logger().bind(client_id=options.client_id)

    def run(self) -> int:
        event = self._outcome(lambda: RoundSeen(self._transport.first_status()))
        while True:
            if isinstance(event, RoundSeen):
                self._published = event.status.round - 1
            decision = self._participant.handle_event(event)
            for note in decision.notes:
                self._take(note)
            if isinstance(decision.step, Stop):
                return self._stop(decision.step)
            event = self._perform(decision.step)

    def _perform(self, step: Step) -> Event:
        match step:
            case Poll(after):
                self._surroundings.sleep(after * self._surroundings.rng.uniform(*_JITTER))
                return self._outcome(lambda: RoundSeen(self._transport.round_status()))
            case FetchModel(base):
                return self._outcome(lambda: self._fetch(base))
            case Train(plan):
                return self._train(plan)
            case Upload(update):
                return self._outcome(lambda: Accepted(self._transport.upload(update, self._updates.path(update))))
        raise AssertionError(f"{step} is performed by nobody")

    def _outcome(self, perform: Callable[[], Event]) -> Event:
        started = self._surroundings.clock()
        try:
            return perform()
        except Problem as problem:
            return Refused(problem)
        except Unreachable as error:
            return Failed(str(error))
        except OSError as error:
            return Failed(f"the state directory {self._options.state_dir} cannot be used: {error}")
        finally:
            self._step_seconds = self._surroundings.clock() - started

    def _fetch(self, base: BaseRound) -> ModelReady:
        self._models.require(base, self._transport.fetch_model)
        return ModelReady(base)

    def _train(self, plan: RoundStatus) -> Event:
        config = fit_config(
            plan,
            client_id=self._options.client_id,
            run_seed=self._options.seed,
            epochs=self._options.epochs,
        )
        self._tell("training", round=plan.round, attempt=plan.attempt, epochs=config.epochs)
        started = self._surroundings.clock()
        try:
            result = train_update(self._task, TensorFile(self._models.path(plan.base)), plan, config)
        except Problem as problem:
            return Refused(problem)
        return self._outcome(lambda: Trained(self._save(plan, result, self._surroundings.clock() - started)))

    def _save(self, plan: RoundStatus, result: FitResult, seconds: float) -> SavedUpdate:
        update = self._updates.save(
            (plan.round, plan.base.sha256),
            result.arrays,
            [tensor.spec for tensor in plan.tensors],
            num_examples=result.num_examples,
            metrics=result.metrics,
        )
        self._tell("trained", attempt=plan.attempt, seconds=seconds, **_facts(update))
        return update

    def _take(self, note: Note) -> None:
        match note:
            case Discard(update):
                self._updates.discard(update)
            case Tell(event, update, attempt, detail):
                self._tell(event, attempt=attempt, detail=detail, seconds=self._step_seconds, **_facts(update))

    def _stop(self, stop: Stop) -> int:
        self._tell("finished", round=self._published, ok=stop.ok, detail=stop.reason)
        return 0 if stop.ok else 1

    def _tell(self, event: str, **facts: Any) -> None:
        if "seconds" in facts:
            facts["seconds"] = round(facts["seconds"], 3)
        level = self._log.info if facts.get("ok", True) else self._log.error
        level(event, **facts)
        if self._options.report is not None:
            self._options.report({"event": event, "client_id": self._options.client_id, **facts})


def _facts(update: SavedUpdate) -> dict[str, Any]:
    return {"round": update.round, "num_examples": update.num_examples, "metrics": dict(update.metrics)}
