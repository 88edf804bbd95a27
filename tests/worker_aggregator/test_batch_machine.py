"""Any history of updates, partials, rounds and lost answers against a simulated upstream."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fedtier.entries import Counted, Entry, Outcome
from fedtier.problems import AlreadyCounted, AttemptOver, Problem, RoundOver, Unavailable
from fedtier.rounds import RoundPlan
from tests.builders import make_plan, partial_entry, update_entry
from worker_aggregator.batch import LINGER, Batcher
from worker_aggregator.events import (
    Action,
    Batch,
    BatchCounted,
    BatchRefused,
    BytesCame,
    Discard,
    DropBody,
    Event,
    LeftOut,
    Offered,
    RoundSeen,
    Seal,
    Settle,
    Tick,
    UploadEnded,
)

CLIENTS = st.sampled_from("abcdef")


class Upstream:
    """Counts partials as the master does: all of a partial's contributors are new, or none is counted."""

    def __init__(self) -> None:
        self.plan: RoundPlan = make_plan()
        self.counted: dict[str, str] = {}
        self.history: dict[tuple[tuple[int, int], str], str] = {}

    def move(self, plan: RoundPlan) -> None:
        self.plan = plan
        self.counted = {}

    def take(self, batch: Batch, entries: Mapping[int, Entry]) -> Event:
        now = {"round": self.plan.round, "attempt": self.plan.attempt}
        if batch.plan.round < self.plan.round:
            return BatchRefused(RoundOver("closed", **now))
        if batch.plan.attempt != self.plan.attempt:
            return BatchRefused(AttemptOver("started over", **now))
        who = {c.client_id: c.sha256 for entry in entries.values() for c in entry.contributors}
        known = sorted(who.keys() & self.counted.keys())
        if known:
            counted = [{"client_id": c, "sha256": self.counted[c]} for c in known]
            return BatchRefused(AlreadyCounted("some", **now, counted=counted))
        self.counted |= who
        self.history |= {(self.plan.pair, client_id): digest for client_id, digest in who.items()}
        return BatchCounted()


class Worker(RuleBasedStateMachine):
    """Carries the core's actions out on sets of entries, where the shell has sums and files."""

    def __init__(self) -> None:
        super().__init__()
        ids = itertools.count()
        self.core = Batcher(batch_max=3, batch_age=1.0, new_id=lambda: f"batch-{next(ids)}")
        self.upstream = Upstream()
        self.now = 0.0
        self.names = itertools.count()
        self.tickets = itertools.count()
        self.offered: dict[int, Entry] = {}
        self.settled: dict[int, Outcome] = {}
        self.bodies: set[str] = set()
        self.uploads: set[int] = set()
        self.sealing: tuple[Batch, dict[int, Entry]] | None = None
        self.sent: tuple[Batch, dict[int, Entry]] | None = None
        self.ids: set[str] = set()

    @initialize()
    def start(self) -> None:
        self.tell(RoundSeen(self.upstream.plan))

    def tell(self, event: Event) -> None:
        for action in self.core.handle_event(event, self.now):
            self.perform(action)

    def perform(self, action: Action) -> None:
        match action:
            case Seal(batch):
                self.seal(batch)
            case Discard():
                self.sent = None
            case DropBody(entry):
                self.drop(entry)
            case Settle(ticket, outcome):
                self.settle(ticket, outcome)

    def seal(self, batch: Batch) -> None:
        assert self.sent is self.sealing is None, "one batch is in flight"
        assert batch.entries
        self.sealing = batch, dict(batch.entries)

    def send(self, batch: Batch) -> None:
        assert batch.entries
        assert all(e.body.name in self.bodies for e in batch.entries.values()), "a body is there when it is added"
        assert batch.batch_id not in self.ids
        self.ids.add(batch.batch_id)
        listed = [client_id for entry in batch.entries.values() for client_id in entry.client_ids]
        assert len(listed) == len(set(listed)), "the contributors of a batch are disjoint"
        assert all((e.round, e.attempt) == batch.plan.pair for e in batch.entries.values())
        self.sent = batch, dict(batch.entries)

    def drop(self, entry: Entry) -> None:
        assert entry.body.name in self.bodies, "a body is dropped once"
        self.bodies.remove(entry.body.name)

    def settle(self, ticket: int, outcome: Outcome) -> None:
        assert ticket not in self.settled, "a ticket is settled once"
        self.settled[ticket] = outcome
        entry = self.offered[ticket]
        if isinstance(outcome, Counted):
            for contributor in entry.contributors:
                digest = self.upstream.history[(outcome.round, outcome.attempt), contributor.client_id]
                assert entry.kind == "partial" or outcome.sha256 == digest, "told the digest that counted"
        if isinstance(outcome, AlreadyCounted):
            assert entry.kind == "partial"
            for item in outcome.members["counted"]:
                pair = outcome.members["round"], outcome.members["attempt"]
                assert self.upstream.history[pair, item["client_id"]] == item["sha256"]
                assert item["client_id"] in entry.client_ids

    def offer(self, entry: Entry, upload: int | None = None) -> None:
        ticket = next(self.tickets)
        self.offered[ticket] = entry
        self.bodies.add(entry.body.name)
        self.tell(Offered(ticket, entry, upload))

    @rule(client=CLIENTS, old=st.booleans(), through=st.booleans())
    def update_comes(self, client: str, old: bool, through: bool) -> None:
        number, attempt = self.upstream.plan.pair
        upload = self.uploads.pop() if through and self.uploads else None
        name = f"{client}-{next(self.names)}"
        self.offer(update_entry(client, name=name, number=number, attempt=max(1, attempt - old)), upload)

    @rule(clients=st.sets(CLIENTS, min_size=1, max_size=4))
    def partial_comes(self, clients: set[str]) -> None:
        number, attempt = self.upstream.plan.pair
        self.offer(partial_entry(*sorted(clients), name=f"partial-{next(self.names)}", number=number, attempt=attempt))

    @rule(upload=st.integers(0, 3))
    def upload_moves(self, upload: int) -> None:
        self.uploads.add(upload)
        self.tell(BytesCame(upload))

    @precondition(lambda self: self.uploads)
    @rule()
    def upload_breaks_off(self) -> None:
        self.tell(UploadEnded(self.uploads.pop()))

    @rule(seconds=st.sampled_from([0.002, 0.05, 0.3, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Tick())

    @precondition(lambda self: self.sealing)
    @rule(data=st.data())
    def entry_cannot_be_read(self, data: st.DataObject) -> None:
        assert self.sealing is not None
        _, entries = self.sealing
        ticket = data.draw(st.sampled_from(sorted(entries)))
        del entries[ticket]
        self.tell(LeftOut(ticket, Unavailable("the disk")))
        if not entries:
            self.sealing = None
            self.tell(BatchRefused(Unavailable("no entry could be read")))

    @precondition(lambda self: self.sealing)
    @rule()
    def batch_cannot_be_made(self) -> None:
        self.sealing = None
        self.tell(BatchRefused(Unavailable("no room on the disk")))

    @precondition(lambda self: self.sealing)
    @rule()
    def batch_is_sealed(self) -> None:
        assert self.sealing is not None
        (batch, entries), self.sealing = self.sealing, None
        self.send(Batch(batch.batch_id, batch.plan, entries))

    @precondition(lambda self: self.sent)
    @rule(lost=st.booleans())
    def upstream_answers(self, lost: bool) -> None:
        """Deliver the batch; where the answer is lost, the forwarder sends it again later."""
        assert self.sent is not None
        batch, answer = self.sent[0], self.upstream.take(*self.sent)
        if not lost:
            self.tell(answer)
        if self.sealing is not None:
            again = self.sealing[0].entries.items()
            assert again.isdisjoint(batch.entries.items()) or again < batch.entries.items(), "what is left, if any"

    @precondition(lambda self: self.sent)
    @rule()
    def upstream_is_out_of_order(self) -> None:
        self.tell(BatchRefused(Unavailable("no room on the disk")))

    @rule(client=CLIENTS)
    def client_counts_elsewhere(self, client: str) -> None:
        if client not in self.upstream.counted:
            digest = update_entry(client, name=f"elsewhere-{client}").contributors[0].sha256
            self.upstream.counted[client] = digest
            self.upstream.history[self.upstream.plan.pair, client] = digest

    @rule(seen=st.booleans(), closes=st.booleans())
    def upstream_moves_on(self, seen: bool, closes: bool) -> None:
        number, attempt = self.upstream.plan.pair
        self.upstream.move(make_plan(round=number + closes, attempt=attempt + 1))
        if seen:
            self.tell(RoundSeen(self.upstream.plan))

    @invariant()
    def a_body_stays_while_its_entry_is_unsettled(self) -> None:
        waiting = [e for t, e in self.offered.items() if t not in self.settled]
        assert self.core.unsettled <= len(waiting)
        in_use = [entry for flight in (self.sealing, self.sent) if flight for entry in flight[1].values()]
        assert all(entry.body.name in self.bodies for entry in in_use)
        assert len(self.bodies) == self.core.unsettled, "a body is kept for every unsettled entry, and for no other"

    def teardown(self) -> None:
        """Let all faults end: everyone is told something, and nothing is left."""
        self.tell(RoundSeen(self.upstream.plan))
        for upload in list(self.uploads):
            self.tell(UploadEnded(upload))
        self.now += LINGER
        self.tell(Tick())
        for _ in range(len(self.offered) * 3 + 3):
            if self.sealing is not None:
                self.batch_is_sealed()
            if self.sent is None:
                break
            self.tell(self.upstream.take(*self.sent))
        assert self.core.unsettled == 0
        assert self.settled.keys() == self.offered.keys()
        assert not self.bodies
        assert self.sealing is None
        assert all(isinstance(outcome, Counted | Problem) for outcome in self.settled.values())


Worker.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWorker = Worker.TestCase
