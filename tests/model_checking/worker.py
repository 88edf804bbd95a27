"""A simulated worker around the shipped core, as `worker_aggregator.aggregator` is.

What the process holds ends with it; its threads are in `worker_threads`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fedtier.admission import refuse_by_address
from fedtier.entries import Entry
from fedtier.problems import Problem, Unavailable
from fedtier.rounds import RoundPlan, RoundStatus
from tests.model_checking.network import Request, Server, Step
from tests.model_checking.serving import Serving
from tests.model_checking.surroundings import Surroundings
from tests.model_checking.worker_threads import Disk, ForwarderThread, SealerThread
from worker_aggregator.aggregator import LOST_AFTER
from worker_aggregator.batch import Batcher
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

BATCH_AGE: Final = 0.25


class Worker:
    """A worker's address; its process comes and goes."""

    def __init__(self, name: str, upstream: Server, around: Surroundings, *, batch_max: int) -> None:
        self.name = name
        self.process: WorkerProcess | None = None
        self._upstream = upstream
        self._around = around
        self._batch_max = batch_max

    def start(self) -> None:
        assert self.process is None, "an address has one process"
        self.process = WorkerProcess(self.name, self._upstream, self._around, self._batch_max)

    def die(self) -> None:
        """Lose all that the process holds."""
        process, self.process = self.process, None
        if process is not None:
            process.end()

    def receive(self, request: Request) -> None:
        if self.process is None:
            self._around.network.answer(request, None)
        else:
            self.process.serving.receive(request)

    def status(self) -> RoundStatus | Problem | None:
        return None if self.process is None else self.process.shown()

    def steps(self) -> Iterable[Step]:
        if self.process is None:
            yield f"{self.name} starts", self.start
        else:
            yield from self.process.steps()


class WorkerProcess:
    """A worker between its start and its end."""

    def __init__(self, name: str, upstream: Server, around: Surroundings, batch_max: int) -> None:
        self.serving = Serving(name, self, around.network, around.claims)
        self.disk = Disk(self.serving.bodies)
        self.core = Batcher(batch_max=batch_max, batch_age=BATCH_AGE, new_id=around.new_batch_id)
        self.forwarder = ForwarderThread(name, self.disk, around.network, upstream, self._tell)
        self.sealer = SealerThread(self.disk, self.forwarder.orders.append, self._tell)
        self._name = name
        self._upstream = upstream
        self._around = around
        self._status: RoundStatus | None = None
        self._lost_since: float | None = around.seconds

    @property
    def empty(self) -> bool:
        """Whether it holds nothing of anybody."""
        waiting = self.serving.waiting or self.serving.receiving or self.sealer.queue or self.forwarder.orders
        return not waiting and not self.core.unsettled and not self.serving.bodies

    def shown(self) -> RoundStatus | Problem:
        """Answer `GET /v1/round`."""
        return self._status or Unavailable("the upstream's round is not known yet", retry_after=1)

    def steps(self) -> Iterable[Step]:
        yield from self.serving.steps()
        if self.sealer.queue:
            yield f"sealer of {self._name}", self.sealer.step
        if not self.forwarder.idle:
            yield f"forwarder of {self._name}", self.forwarder.step
        if self._lost_since is not None or self._upstream.status() is not self._status:
            yield f"follower of {self._name}", self._follow

    def end(self) -> None:
        self.serving.end()
        self._around.network.hang_up(self.forwarder)

    def keep_time(self) -> None:
        """Send the core a `Tick` when it wants one."""
        at = self.core.wake_at(self._around.seconds)
        if at is not None and at <= self._around.seconds:
            self._tell(Tick())

    def admit(self, round_number: int, client_id: str | None) -> RoundPlan:
        shown = self.shown()
        if isinstance(shown, Problem):
            raise shown
        refuse_by_address(shown, shown.state, round_number, client_id)
        if self._lost_since is not None and self._around.seconds - self._lost_since > LOST_AFTER:
            raise Unavailable("the upstream is lost", retry_after=2)
        return shown.plan

    def upload_began(self, upload: int) -> None:
        self._tell(BytesCame(upload))

    def upload_ended(self, upload: int) -> None:
        self._tell(UploadEnded(upload))

    def offer(self, ticket: int, entry: Entry, upload: int) -> None:
        self._tell(Offered(ticket, entry, upload))

    def _follow(self) -> None:
        status = self._upstream.status()
        if isinstance(status, RoundStatus):
            self._lost_since = None
            self._see(status)
        elif self._lost_since is None:
            self._lost_since = self._around.seconds

    def _see(self, status: RoundStatus) -> None:
        known = self._status
        if known is not None and status.pair < known.pair:
            return
        if known is None or status.pair > known.pair:
            self._tell(RoundSeen(status.plan))
        self._status = status

    def _tell(self, event: Event) -> None:
        for action in self.core.handle_event(event, self._around.seconds):
            self._perform(action)

    def _perform(self, action: Action) -> None:
        match action:
            case Settle(ticket, outcome):
                self.serving.settle(ticket, outcome)
            case Seal() | DropBody():
                self.sealer.queue.append(action)
            case Discard():
                self.forwarder.orders.append(action)
