"""What a simulated worker does in threads of its own: `worker_aggregator.sealer` and `worker_aggregator.forwarder`."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import TypeAlias

from fedtier.entries import Received
from fedtier.fields import sha256_hex
from fedtier.problems import Problem, Unavailable
from fedtier.rounds import PartialHeader, PartialReceipt
from tests.model_checking.claims import Sum
from tests.model_checking.network import Answer, Network, Partial, Server
from tests.model_checking.serving import Bodies
from worker_aggregator.events import (
    Batch,
    BatchCounted,
    BatchRefused,
    Discard,
    DropBody,
    Event,
    LeftOut,
    Seal,
)
from worker_aggregator.forwarder import Order, may_be_taken_later
from worker_aggregator.sealer import SealedBatch, Work

Tell: TypeAlias = Callable[[Event], None]


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

    def write_partial(self, batch: Batch) -> Received:
        """Write the sum of what the entries of a batch hold, which is said to be of their contributors."""
        self.try_to_use()
        total: Sum = Counter()
        for entry in batch.entries.values():
            assert entry.magnitudes is not None, "what is added was checked whole"
            total.update(self.bodies.read(entry.body))
        content = _header_of(batch).to_json() + repr(sorted(total.items())).encode()
        return self.bodies.write(total, sha256_hex(content))


class SealerThread:
    """Does its work strictly in the order in which it was queued, some time later."""

    def __init__(self, disk: Disk, send: Callable[[SealedBatch], None], tell: Tell) -> None:
        self.queue: deque[Work] = deque()
        self._disk = disk
        self._send = send
        self._tell = tell

    def step(self) -> None:
        match self.queue.popleft():
            case Seal(batch):
                self._seal(batch)
            case DropBody(entry):
                self._disk.bodies.drop(entry.body)

    def _seal(self, batch: Batch) -> None:
        entries = dict(batch.entries)
        for ticket in batch.entries:
            try:
                self._disk.try_to_use()
            except Problem as problem:
                del entries[ticket]
                self._tell(LeftOut(ticket, problem))
        try:
            if not entries:
                raise Unavailable("no entry of the batch could be read", retry_after=1)
            sealed = Batch(batch.batch_id, batch.plan, entries)
            body = self._disk.write_partial(sealed)
        except Problem as problem:
            self._tell(BatchRefused(problem))
        else:
            self._send(SealedBatch(sealed, body))


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


def _header_of(batch: Batch) -> PartialHeader:
    """Return whom a batch's file says that it is of."""
    who = sorted((c for entry in batch.entries.values() for c in entry.contributors), key=lambda c: c.client_id)
    weight = sum(contributor.num_examples for contributor in who)
    return PartialHeader(attempt=batch.plan.attempt, total_weight=weight, contributors=tuple(who))
