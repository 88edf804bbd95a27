"""Any history of offers, disk faults, restarts and operators against a simulated journal."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fedtier.entries import Counted, Entry, Outcome
from fedtier.problems import AlreadyCounted, Unavailable, WeightLimit
from fedtier.rounds import Contributor
from master_aggregator.coordinator import (
    Action,
    Close,
    CloseAsked,
    Coordinator,
    DropBody,
    Event,
    NoteOverdue,
    NotRecorded,
    Offered,
    Opened,
    OverdueNotNoted,
    PauseAsked,
    Record,
    Recorded,
    Settle,
    Tick,
)
from tests.builders import make_plan, noon, partial_entry, update_entry

CLIENTS = st.sampled_from("abcdefgh")
THRESHOLD, LIMIT = 4, 70


class Master(RuleBasedStateMachine):
    """Carries the core's actions out on a list, where the shell has a journal and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.core = Coordinator()
        self.names = itertools.count()
        self.tickets = itertools.count()
        self.offered: dict[int, Entry] = {}
        self.settled: dict[int, Outcome] = {}
        self.lost: set[int] = set()
        self.bodies: set[str] = set()
        self.queue: list[Record] = []
        self.journal: dict[str, Contributor] = {}
        self.closed: Close | None = None
        self.notes: list[int] = []
        self.overdue: tuple[int, int] | None = None
        self.now = noon(-1)
        self.plan = make_plan(threshold=THRESHOLD, min_clients=2, weight_limit=LIMIT, deadline=noon())

    @initialize()
    def start(self) -> None:
        self.tell(Opened(self.plan))

    def tell(self, event: Event) -> None:
        for action in self.core.handle_event(event):
            self.perform(action)

    def perform(self, action: Action) -> None:
        match action:
            case Record():
                assert self.closed is None, "nothing is recorded once the round is closed"
                claimed = {c for record in self.queue for c in record.entry.client_ids}
                assert not action.entry.client_ids & (claimed | self.journal.keys()), "claims are disjoint"
                self.queue.append(action)
            case Settle(ticket, outcome):
                self.settle(ticket, outcome)
            case DropBody(entry):
                assert entry.body.name in self.bodies, "a body is dropped once, and none that is counted"
                self.bodies.remove(entry.body.name)
            case NoteOverdue(plan):
                assert plan is self.plan
                self.notes.append(plan.round)
            case Close(_, contributors):
                assert self.closed is None, "a round closes once"
                assert not self.queue, "claims are drained before"
                assert list(contributors) == [self.journal[c] for c in sorted(self.journal)]
                self.closed = action

    def settle(self, ticket: int, outcome: Outcome) -> None:
        assert ticket not in self.settled, "a ticket is settled once"
        self.settled[ticket] = outcome
        entry = self.offered[ticket]
        if isinstance(outcome, Counted):
            assert entry.client_ids <= self.journal.keys(), "counted means journaled"
            assert (outcome.round, outcome.attempt) == self.plan.pair
            if entry.kind == "update":
                assert outcome.sha256 == self.journal[entry.contributors[0].client_id].sha256
        if isinstance(outcome, WeightLimit):
            assert self.overdue == self.plan.pair or self.now >= noon(), "who is told to go is told so after a restart"
        if isinstance(outcome, AlreadyCounted):
            for item in outcome.members["counted"]:
                assert self.journal[item["client_id"]].sha256 == item["sha256"], "never from a claim"

    def offer(self, entry: Entry) -> None:
        ticket = next(self.tickets)
        self.offered[ticket] = entry
        self.bodies.add(entry.body.name)
        self.tell(Offered(ticket, entry))

    @rule(client=CLIENTS, num_examples=st.sampled_from([1, 20, 60]))
    def update_comes(self, client: str, num_examples: int) -> None:
        pair = {"number": self.plan.round, "attempt": self.plan.attempt}
        self.offer(update_entry(client, num_examples, name=f"{client}-{next(self.names)}", **pair))

    @rule(clients=st.sets(CLIENTS, min_size=1, max_size=3), stale=st.booleans())
    def partial_comes(self, clients: set[str], stale: bool) -> None:
        attempt = max(1, self.plan.attempt - stale)
        self.offer(
            partial_entry(*sorted(clients), name=f"p-{next(self.names)}", number=self.plan.round, attempt=attempt)
        )

    @precondition(lambda self: self.queue)
    @rule(data=st.data(), works=st.booleans())
    def disk_works(self, data: st.DataObject, works: bool) -> None:
        count = data.draw(st.integers(1, len(self.queue)))
        group, self.queue = self.queue[:count], self.queue[count:]
        tickets = tuple(record.ticket for record in group)
        if not works:
            self.tell(NotRecorded(tickets, Unavailable("the disk is full")))
            return
        for record in group:
            self.journal |= {c.client_id: c for c in record.entry.contributors}
        self.tell(Recorded(tickets))

    @rule(paused=st.booleans())
    def operator_pauses(self, paused: bool) -> None:
        self.tell(PauseAsked(paused))

    @rule(late=st.booleans())
    def time_passes(self, late: bool) -> None:
        self.now = max(self.now, noon(1 if late else -1))
        self.tell(Tick(self.now))

    @rule()
    def operator_closes(self) -> None:
        self.note()

    @precondition(lambda self: self.notes)
    @rule(works=st.booleans())
    def disk_takes_a_note(self, works: bool) -> None:
        number = self.notes.pop(0)
        if not works:
            self.tell(OverdueNotNoted(number, Unavailable("the disk is full")))
        elif number == self.plan.round:
            self.note()
        else:
            self.tell(CloseAsked(number))

    def note(self) -> None:
        self.overdue = self.plan.pair
        self.tell(CloseAsked(self.plan.round))

    @rule(forgets=st.booleans())
    def process_restarts(self, forgets: bool) -> None:
        """Keep what is journaled; requests break off, and the journal of a lost disk is another attempt's."""
        was_closed = self.core.state == "publishing" and not forgets
        self.lost |= self.offered.keys() - self.settled.keys()
        self.bodies.clear()
        self.queue.clear()
        self.notes.clear()
        if forgets:
            self.plan = self.plan.model_copy(update={"attempt": self.plan.attempt + 1})
            self.journal.clear()
            self.closed = None
        self.core = Coordinator()
        closed = self.closed is not None
        self.tell(Opened(self.plan, tuple(self.journal.values()), closed=closed))
        if self.overdue == self.plan.pair:
            self.tell(CloseAsked(self.plan.round))
        self.tell(Tick(self.now))
        if was_closed:
            assert self.core.state == "publishing", "a round that was said to be over stays so"

    @precondition(lambda self: self.closed)
    @rule()
    def round_is_published(self) -> None:
        assert self.offered.keys() == self.settled.keys() | self.lost
        number, attempt = self.plan.pair
        self.plan = self.plan.model_copy(update={"round": number + 1, "attempt": attempt + 1})
        self.journal.clear()
        self.closed = None
        self.tell(Opened(self.plan))

    @invariant()
    def the_core_counts_what_the_journal_holds(self) -> None:
        assert self.core.counted == len(self.journal)
        assert sum(c.num_examples for c in self.journal.values()) <= LIMIT

    @invariant()
    def only_the_last_batch_passes_the_threshold(self) -> None:
        assert len(self.journal) < THRESHOLD + 3

    @invariant()
    def whoever_waits_waits_for_the_disk(self) -> None:
        if not self.queue and not self.notes:
            assert self.offered.keys() == self.settled.keys() | self.lost

    def teardown(self) -> None:
        while self.queue:
            record = self.queue.pop(0)
            self.journal |= {c.client_id: c for c in record.entry.contributors}
            self.tell(Recorded((record.ticket,)))
        while self.notes:
            self.disk_takes_a_note(works=True)
        assert self.offered.keys() == self.settled.keys() | self.lost


Master.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMaster = Master.TestCase
