"""A simulated client around the shipped core, as `client.performer` and `client.transport` are.

What it trained outlives its process. Where the shipped one pauses, a step ends; to see the same again is no step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from client.events import (
    Accepted,
    Discard,
    Event,
    FetchModel,
    ModelReady,
    Poll,
    Refused,
    RoundSeen,
    SavedUpdate,
    Step,
    Stop,
    Train,
    Trained,
    Upload,
)
from client.participant import Participant, is_transient
from fedtier.fields import sha256_hex
from fedtier.problems import Problem
from fedtier.rounds import Contributor, RoundStatus, UpdateReceipt
from tests.model_checking import network
from tests.model_checking.network import Answer, Server
from tests.model_checking.surroundings import Surroundings


class Client:
    """A client's machine; `servers` are those behind its load balancer."""

    def __init__(self, client_id: str, servers: Sequence[Server], first: int, around: Surroundings) -> None:
        self.client_id = client_id
        self.server = first
        self.stopped: Stop | None = None
        self._servers = servers
        self._network = around.network
        self._claims = around.claims
        self._trainings = itertools.count(1)
        self._saved: dict[tuple[int, str], SavedUpdate] = {}
        self._waits = False
        self._seen: RoundStatus | None = None
        self._step: Step = Poll(0.0)
        self._participant = Participant(client_id)

    @property
    def ended_well(self) -> bool:
        """Whether it did what it was asked to, and stopped."""
        return self.stopped is not None and self.stopped.ok

    def restart(self, *, forgets: bool) -> None:
        """End the process and start another one; a lost disk forgets what was trained."""
        if forgets:
            self._saved.clear()
        self._network.hang_up(self)
        self._waits = False
        self._seen = None
        self._step = Poll(0.0)
        self._participant = Participant(self.client_id, saved=self._saved.values())

    def steps(self) -> Iterable[network.Step]:
        idle = isinstance(self._step, Poll) and self._seen is not None and self._asked.status() is self._seen
        if not (self._waits or self.stopped or idle):
            yield f"client {self.client_id} goes on", self._go_on

    def answered(self, answer: Answer) -> None:
        """Take the answer to an upload."""
        self._waits = False
        if answer is None:
            self.server += 1
        elif isinstance(answer, UpdateReceipt):
            self._feed(Accepted(answer))
        elif isinstance(answer, Problem) and not is_transient(answer):  # the transport sends again by itself
            self._feed(Refused(answer))

    def _go_on(self) -> None:
        if isinstance(self._step, Poll):
            self._look()
        while isinstance(self._step, FetchModel | Train):
            self._feed(ModelReady(self._step.base) if isinstance(self._step, FetchModel) else self._train(self._step))
        if isinstance(self._step, Upload):
            self._send(self._step.update)

    def _look(self) -> None:
        status = self._asked.status()
        if isinstance(status, RoundStatus):
            self._feed(RoundSeen(status))
            self._seen = status
        else:
            self.server += 1

    def _train(self, step: Train) -> Event:
        count = next(self._trainings)
        sha256 = sha256_hex(f"{self.client_id} {count}".encode())
        update = SavedUpdate(step.plan.round, step.plan.base.sha256, sha256, count, {})
        assert update.key not in self._saved, "trained although an update was saved"
        self._saved[update.key] = update
        self._claims.trained(sha256, update.round)
        return Trained(update)

    def _send(self, update: SavedUpdate) -> None:
        who = Contributor(
            client_id=self.client_id, num_examples=update.num_examples, sha256=update.sha256, metrics=update.metrics
        )
        self._waits = True
        name = f"update {update.num_examples} of {self.client_id}"
        self._network.send(name, self, self._asked, network.Update(update.round, who))

    def _feed(self, event: Event) -> None:
        self._seen = None
        decision = self._participant.handle_event(event)
        for note in decision.notes:
            if isinstance(note, Discard):
                del self._saved[note.update.key]
        self._step = decision.step
        if isinstance(decision.step, Stop):
            self.stopped = decision.step

    @property
    def _asked(self) -> Server:
        return self._servers[self.server % len(self._servers)]
