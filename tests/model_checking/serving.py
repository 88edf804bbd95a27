"""The HTTP side of a process, as `fedtier.serving.shell` and `fedtier.serving.waiting` have it.

An upload is admitted by its address, received, checked, given to the core, and answered when the core says what
became of it. Between each of these anything may happen.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from fedtier.entries import Counted, Entry, Outcome, Received
from fedtier.problems import Problem, Unavailable
from fedtier.rounds import PartialReceipt, RoundPlan, UpdateReceipt
from tests.model_checking.claims import Claims, Sum
from tests.model_checking.network import Network, Partial, Request, Step, Update

CHECKED: Final = np.zeros(0, np.float32)
"""The magnitudes of a body that was checked whole."""


class Tier(Protocol):
    """What the HTTP side asks of its tier."""

    def admit(self, round_number: int, client_id: str | None) -> RoundPlan:
        """Return the plan that an upload is checked against, or raise why it is refused by its address."""
        ...

    def upload_began(self, upload: int) -> None: ...

    def upload_ended(self, upload: int) -> None: ...

    def offer(self, ticket: int, entry: Entry, upload: int) -> None: ...


class Bodies:
    """The files of a process, each holding a sum: whoever reads one finds it there."""

    def __init__(self) -> None:
        self._names = itertools.count()
        self._sums: dict[str, Sum] = {}

    def __len__(self) -> int:
        return len(self._sums)

    def write(self, total: Sum, sha256: str) -> Received:
        name = f"body-{next(self._names)}"
        self._sums[name] = total.copy()
        return Received(name, Path(name), sha256)

    def read(self, body: Received) -> Sum:
        assert body.name in self._sums, "a body is there when it is read"
        return self._sums[body.name]

    def drop(self, body: Received) -> None:
        assert body.name in self._sums, "a body is dropped once"
        del self._sums[body.name]


class Serving:
    """Takes uploads for a tier."""

    def __init__(self, name: str, tier: Tier, network: Network, claims: Claims) -> None:
        self.bodies = Bodies()
        self.receiving: dict[Request, tuple[RoundPlan, int]] = {}
        self.waiting: dict[int, Request] = {}
        self._name = name
        self._tier = tier
        self._network = network
        self._claims = claims
        self._numbers = itertools.count(1)
        self._settled: set[int] = set()

    def receive(self, request: Request) -> None:
        """Take a request whose headers have come."""
        upload = request.upload
        client_id = upload.contributor.client_id if isinstance(upload, Update) else None
        try:
            plan = self._tier.admit(upload.round, client_id)
        except Problem as problem:
            self._network.answer(request, problem)
            return
        number = next(self._numbers)
        self.receiving[request] = plan, number
        self._tier.upload_began(number)

    def steps(self) -> Iterable[Step]:
        for request in self.receiving:
            yield f"{self._name} has all of {request.call.name}", partial(self._complete, request)

    def break_off(self, request: Request) -> None:
        """Have a body stop halfway."""
        _, number = self.receiving.pop(request)
        self._tier.upload_ended(number)
        self._network.answer(request, None)

    def keep_waiting_no_longer(self, ticket: int) -> None:
        """Have an upload's time be over; its entry stays where it is."""
        self._network.answer(self.waiting.pop(ticket), Unavailable("no answer yet", retry_after=1))

    def settle(self, ticket: int, outcome: Outcome) -> None:
        """Answer an upload, if it still waits."""
        assert ticket not in self._settled, "a ticket is settled once"
        self._settled.add(ticket)
        request = self.waiting.pop(ticket, None)
        if request is None:
            return
        if isinstance(outcome, Problem):
            self._network.answer(request, outcome)
        elif isinstance(request.upload, Update):
            self._confirm(request, request.upload.contributor.client_id, outcome)
        else:
            counted = len(request.upload.header.contributors)
            receipt = PartialReceipt(
                round=outcome.round, attempt=outcome.attempt, batch_id=request.upload.batch_id, counted=counted
            )
            self._network.answer(request, receipt)

    def end(self) -> None:
        """Break all connections, as the end of a process does."""
        for request in (*self.receiving, *self.waiting.values()):
            self._network.answer(request, None)

    def _confirm(self, request: Request, client_id: str, outcome: Counted) -> None:
        receipt = UpdateReceipt(
            round=outcome.round, attempt=outcome.attempt, client_id=client_id, sha256=outcome.sha256
        )
        self._claims.promised(receipt)
        self._network.answer(request, receipt)

    def _complete(self, request: Request) -> None:
        plan, number = self.receiving.pop(request)
        try:
            entry = self._read(plan, request.upload)
        except Problem as problem:
            self._tier.upload_ended(number)
            self._network.answer(request, problem)
            return
        ticket = next(self._numbers)
        self.waiting[ticket] = request
        self._tier.offer(ticket, entry, number)

    def _read(self, plan: RoundPlan, upload: Update | Partial) -> Entry:
        """Bring a body to disk and check it, as `fedtier.entries` does."""
        if isinstance(upload, Update):
            who = upload.contributor
            body = self.bodies.write(Counter([(who.client_id, who.sha256)]), who.sha256)
            return Entry("update", body, plan.round, plan.attempt, who.num_examples, (who,), magnitudes=CHECKED)
        header = upload.header
        self._claims.sent(header.contributors, upload.sum)
        header.require_consistent()
        if header.attempt > plan.attempt:
            raise Unavailable("this server does not know of that attempt yet", retry_after=1)
        body = self.bodies.write(upload.sum, upload.sha256)
        checked = CHECKED if header.attempt == plan.attempt else None
        said = plan.round, header.attempt, header.total_weight, header.contributors
        return Entry("partial", body, *said, magnitudes=checked)
