"""A simulated worker around the shipped core, as `worker_aggregator.aggregator` and its threads are.

`FolderThread` follows `worker_aggregator.folder`, `ForwarderThread` `worker_aggregator.forwarder`. What the process
holds ends with it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from fedtier.admission import refuse_by_address
from fedtier.entries import Entry, Received
from fedtier.fields import sha256_hex
from fedtier.problems import Problem, Unavailable
from fedtier.rounds import PartialHeader, PartialReceipt, RoundPlan, RoundStatus
from tests.model_checking.claims import Sum
from tests.model_checking.network import Answer, Network, Partial, Request, Server, Step
from tests.model_checking.serving import Bodies, Serving
from tests.model_checking.surroundings import Surroundings
from worker_aggregator.aggregator import LOST_AFTER
from worker_aggregator.batch import Batcher
from worker_aggregator.events import (
    Action,
    Batch,
    BatchCounted,
    BatchRefused,
    BytesCame,
    Discard,
    DropBody,
    Event,
    Fold,
    FoldFailed,
    Offered,
    RoundSeen,
    Seal,
    Settle,
    Shrink,
    StartSum,
    Tick,
    UploadEnded,
)
from worker_aggregator.folder import SealedBatch, Work
from worker_aggregator.forwarder import Order, may_be_taken_later

Tell: TypeAlias = Callable[[Event], None]

BATCH_AGE: Final = 0.25


class Disk:
    """A worker's files, and whether the next that is written finds no room."""

    def __init__(self, bodies: Bodies) -> None:
        self.bodies = bodies
        self.fails_next = False

    def try_to_use(self) -> None:
        """Fail, once, if it is to."""
        fails, self.fails_next = self.fails_next, False
        if fails:
            raise Unavailable("the disk of the state directory is full", retry_after=5)

    def write_partial(self, total: Sum, batch: Batch) -> Received:
        """Write a sum, which is said to be of a batch."""
        self.try_to_use()
        content = _header_of(batch).to_json() + repr(sorted((+total).items())).encode()
        return self.bodies.write(total, sha256_hex(content))


class FolderThread:
    """Does its work strictly in the order in which it was queued, some time later."""

    def __init__(self, disk: Disk, send: Callable[[SealedBatch], None], tell: Tell) -> None:
        self.queue: deque[Work] = deque()
        self._disk = disk
        self._send = send
        self._tell = tell
        self._sum: Sum | None = None
        self._failed: set[int] = set()

    def step(self) -> None:
        match self.queue.popleft():
            case StartSum():
                self._sum = Counter()
                self._failed.clear()
            case Fold(ticket, entry):
                self._fold(ticket, entry)
            case Seal(batch):
                self._seal(batch)
            case DropBody(entry):
                self._disk.bodies.drop(entry.body)

    def _fold(self, ticket: int, entry: Entry) -> None:
        assert self._sum is not None, "a sum is started before it is folded into"
        try:
            self._disk.try_to_use()
        except Problem as problem:
            self._failed.add(ticket)
            self._tell(FoldFailed(ticket, problem))
        else:
            self._sum.update(self._disk.bodies.read(entry.body))

    def _seal(self, batch: Batch) -> None:
        assert self._sum is not None, "a sum is started before it is sealed"
        entries = {ticket: entry for ticket, entry in batch.entries.items() if ticket not in self._failed}
        self._failed.clear()
        try:
            if not entries:
                raise Unavailable("no entry of the batch could be folded", retry_after=1)
            sealed = Batch(batch.batch_id, batch.plan, entries)
            body = self._disk.write_partial(self._sum, sealed)
        except Problem as problem:
            self._tell(BatchRefused(problem))
        else:
            self._send(SealedBatch(sealed, body))
        finally:
            self._sum.clear()


class ForwarderThread:
    """Sends one batch at a time, until an answer to it comes."""

    def __init__(self, name: str, disk: Disk, network: Network, upstream: Server, tell: Tell) -> None:
        self.orders: deque[Order] = deque()
        self._name = name
        self._disk = disk
        self._network = network
        self._upstream = upstream
        self._tell = tell
        self._body: Received | None = None
        self._sending: Batch | None = None
        self._waits = False

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do until an answer or an order comes."""
        return self._waits or (self._sending is None and not self.orders)

    def step(self) -> None:
        if self._sending is not None:
            self._put(self._sending)
            return
        match self.orders.popleft():
            case SealedBatch(batch, body):
                self._body = body
                self._sending = batch
            case Shrink(batch, removed):
                self._shrink(batch, removed)
            case Discard():
                self._discard()

    def answered(self, answer: Answer) -> None:
        self._waits = False
        batch = self._sending
        assert batch is not None, "an answer comes to what was sent"
        if isinstance(answer, PartialReceipt) and (answer.round, answer.attempt) == batch.plan.pair:
            self._sending = None
            self._tell(BatchCounted())
        elif isinstance(answer, Problem) and not may_be_taken_later(batch, answer):
            self._sending = None
            self._tell(BatchRefused(answer))

    def _put(self, batch: Batch) -> None:
        assert self._body is not None, "what is sent lies in a file"
        total = self._disk.bodies.read(self._body)
        upload = Partial(batch.plan.round, batch.batch_id, _header_of(batch), total.copy(), self._body.sha256)
        self._waits = True
        self._network.send(f"{batch.batch_id} of {self._name}", self, self._upstream, upload)

    def _discard(self) -> None:
        if self._body is not None:
            self._disk.bodies.drop(self._body)
            self._body = None

    def _shrink(self, batch: Batch, removed: tuple[Entry, ...]) -> None:
        assert self._body is not None, "a batch that was refused was sent"
        total = self._disk.bodies.read(self._body).copy()
        try:
            for entry in removed:
                total.subtract(self._disk.bodies.read(entry.body))
            body = self._disk.write_partial(total, batch)
        except Problem as problem:
            self._tell(BatchRefused(problem))
            return
        finally:
            for entry in removed:
                self._disk.bodies.drop(entry.body)
        self._discard()
        self._body = body
        self._sending = batch


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
        self.folder = FolderThread(self.disk, self.forwarder.orders.append, self._tell)
        self._name = name
        self._upstream = upstream
        self._around = around
        self._status: RoundStatus | None = None
        self._lost_since: float | None = around.seconds

    @property
    def empty(self) -> bool:
        """Whether it holds nothing of anybody."""
        waiting = self.serving.waiting or self.serving.receiving or self.folder.queue or self.forwarder.orders
        return not waiting and not self.core.unsettled and not self.serving.bodies

    def shown(self) -> RoundStatus | Problem:
        """Answer `GET /v1/round`."""
        return self._status or Unavailable("the upstream's round is not known yet", retry_after=1)

    def steps(self) -> Iterable[Step]:
        yield from self.serving.steps()
        if self.folder.queue:
            yield f"folder of {self._name}", self.folder.step
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
            case StartSum() | Fold() | Seal() | DropBody():
                self.folder.queue.append(action)
            case Shrink() | Discard():
                self.forwarder.orders.append(action)


def _header_of(batch: Batch) -> PartialHeader:
    """Return whom a batch's file says that it is of."""
    who = sorted((c for entry in batch.entries.values() for c in entry.contributors), key=lambda c: c.client_id)
    weight = sum(contributor.num_examples for contributor in who)
    return PartialHeader(attempt=batch.plan.attempt, total_weight=weight, contributors=tuple(who))
