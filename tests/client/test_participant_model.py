"""A participant against a server that loses replies and attempts and is busy, and a machine that crashes or stops."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from client.events import (
    Accepted,
    Decision,
    Discard,
    Event,
    FetchModel,
    ModelReady,
    Poll,
    PutOff,
    Refused,
    RoundSeen,
    SavedUpdate,
    Step,
    Stop,
    StopAsked,
    Train,
    Trained,
    Upload,
)
from client.participant import Participant
from fedtier.problems import NotSelected, Problem, RoundNotOpen, RoundOver, WeightLimit
from fedtier.rounds import RoundStatus, UpdateReceipt
from tests.client.federation import make_status

LAST_ROUND = 3


class OneClient(RuleBasedStateMachine):
    """Rules are what the world does; the client's next step is performed against it."""

    def __init__(self) -> None:
        super().__init__()
        self.number, self.attempt = 1, 1
        self.trainings = 0
        self.disk: dict[tuple[int, str], SavedUpdate] = {}
        self.counted: dict[tuple[int, int], str] = {}
        self.arrived: dict[tuple[int, str], set[str]] = {}
        self.stopped: Stop | None = None
        self.put_off: SavedUpdate | None = None
        self.told = False
        self.step: Step = Poll(0.0)
        self.seen: list[RoundStatus] = [self.status()]
        self.participant = self.fresh()

    def fresh(self) -> Participant:
        self.step = Poll(0.0)
        self.stopped, self.put_off, self.told = None, None, False
        return Participant("client-3", last_round=LAST_ROUND, saved=self.disk.values())

    def status(self) -> RoundStatus:
        return make_status({"w": np.full(1, self.number, np.float32)}, number=self.number, attempt=self.attempt)

    def feed(self, event: Event) -> None:
        decision: Decision = self.participant.handle_event(event)
        for note in decision.notes:
            if isinstance(note, Discard):
                assert self.number > note.update.round, "an update was let go before a later round was open"
                del self.disk[note.update.key]
        self.step = decision.step
        if isinstance(decision.step, Stop):
            self.stopped = decision.step

    @property
    def now(self) -> Mapping[str, int]:
        return {"round": self.number, "attempt": self.attempt}

    @precondition(lambda self: self.stopped is None)
    @rule(lagging=st.integers(0, 3))
    def client_goes_on(self, lagging: int) -> None:
        match self.step:
            case Poll():
                self.feed(RoundSeen(self.seen[max(0, len(self.seen) - 1 - lagging)]))
            case FetchModel(base):
                self.feed(ModelReady(base))
            case Train(plan):
                self.train(plan)
            case Upload(update):
                self.feed(self.reply_to(update))

    def train(self, plan: RoundStatus) -> None:
        key = plan.round, plan.base.sha256
        assert key not in self.disk, "trained although an update was saved"
        self.trainings += 1
        sha256 = hashlib.sha256(str(self.trainings).encode()).hexdigest()
        self.disk[key] = SavedUpdate(*key, sha256, 600, {})
        self.feed(Trained(self.disk[key]))

    def reply_to(self, update: SavedUpdate) -> Event:
        assert self.disk[update.key] == update, "sent what is not durable"
        self.note_arrival(update)
        if update.round != self.number:
            return Refused(RoundOver("over", **self.now))
        first = self.counted.setdefault((self.number, self.attempt), update.sha256)
        return Accepted(UpdateReceipt(client_id="client-3", sha256=first, **self.now))

    def note_arrival(self, update: SavedUpdate) -> None:
        """A client that restarts and meets a server that lags may train for a round that is over: it cannot count."""
        if update.round == self.number:
            self.arrived.setdefault(update.key, set()).add(update.sha256)

    @precondition(lambda self: self.stopped is None and isinstance(self.step, Upload))
    @rule(
        reason=st.sampled_from([NotSelected, WeightLimit, RoundNotOpen]),
    )
    def server_refuses(self, reason: type[Problem]) -> None:
        assert isinstance(self.step, Upload)
        self.note_arrival(self.step.update)
        self.feed(Refused(reason("not now", **self.now)))

    @precondition(lambda self: self.stopped is None and isinstance(self.step, Upload))
    @rule(counts=st.booleans())
    def server_is_busy_until_the_budget_is_spent(self, counts: bool) -> None:
        assert isinstance(self.step, Upload)
        update = self.put_off = self.step.update
        self.note_arrival(update)
        if counts and update.round == self.number:
            self.counted.setdefault((self.number, self.attempt), update.sha256)
        self.feed(PutOff("busy"))

    @precondition(lambda self: self.stopped is None)
    @rule()
    def client_is_told_to_stop(self) -> None:
        self.told = True
        self.feed(StopAsked())

    @rule()
    def machine_crashes_and_restarts(self) -> None:
        self.participant = self.fresh()

    @precondition(lambda self: self.number <= LAST_ROUND)
    @rule()
    def master_publishes(self) -> None:
        self.number, self.attempt = self.number + 1, self.attempt + 1
        self.seen.append(self.status())

    @rule()
    def master_loses_its_disk(self) -> None:
        self.attempt += 1
        self.seen.append(self.status())

    @invariant()
    def never_two_different_updates_that_could_count_for_one_round_and_base(self) -> None:
        assert all(len(digests) == 1 for digests in self.arrived.values())

    @invariant()
    def it_ends_well_at_the_last_round_or_says_what_it_keeps(self) -> None:
        match self.stopped:
            case Stop(reason, ok=False):
                assert self.put_off is not None
                assert self.put_off in self.disk.values()
                assert f"the update of round {self.put_off.round} stays on disk" in reason
            case Stop():
                assert self.told or self.number > LAST_ROUND

    def teardown(self) -> None:
        """Left alone with a server that moves on, the client always reaches the last round, in more starts than one."""
        for _ in range(60):
            if self.stopped is not None and self.stopped.ok and not self.told:
                break
            if self.stopped is not None:
                self.participant = self.fresh()
            if self.number <= LAST_ROUND and (self.number, self.attempt) in self.counted:
                self.master_publishes()
            self.client_goes_on(lagging=0)
            if isinstance(self.step, Poll) and (self.number, self.attempt) not in self.counted:
                self.master_loses_its_disk() if self.number <= LAST_ROUND else None
        assert self.stopped is not None
        assert not self.disk


OneClient.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOneClient = OneClient.TestCase
