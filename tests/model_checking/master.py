"""A simulated master around the shipped core, as `master_aggregator.aggregator` is.

Its journals outlive its process; `RecorderThread` follows `master_aggregator.recorder`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable

from fedtier.admission import refuse_by_address
from fedtier.entries import Entry
from fedtier.problems import Problem, Unavailable
from fedtier.rounds import Contributor, Head, RoundPlan, RoundStatus
from fedtier.serving.pacing import FASTEST
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
    Record,
    Recorded,
    Settle,
)
from tests.model_checking.journals import Ended, Opening, Workshop
from tests.model_checking.network import Request, Step
from tests.model_checking.publishing import Work, publish
from tests.model_checking.recovery import TakenOver, recover
from tests.model_checking.serving import Bodies, Serving
from tests.model_checking.surroundings import Surroundings


class Master:
    """A master's address and disk; its process comes and goes."""

    def __init__(self, name: str, around: Surroundings) -> None:
        self.name = name
        self.process: MasterProcess | None = None
        self.workshop = Workshop(around)
        self.wanted = False
        self._around = around

    def start(self) -> None:
        assert self.process is None, "an address has one process"
        self.process = MasterProcess(self.name, self.workshop, self._around)

    def die(self) -> None:
        """Lose all but the disk."""
        process, self.process = self.process, None
        if process is not None:
            process.serving.end()

    def is_of(self, head: Head) -> bool:
        """Return whether it runs, and its disk is of the open round."""
        folders = self.workshop.folders.values()
        here = any(folder.plan.pair == (head.round + 1, head.attempt) for folder in folders)
        closed = any(folder.close is not None and folder.close.head == head for folder in folders)
        return self.process is not None and (here or closed)

    def receive(self, request: Request) -> None:
        if self.process is None or self.process.opening is None:
            self._around.network.answer(request, None)
        else:
            self.process.serving.receive(request)

    def status(self) -> RoundStatus | Problem | None:
        return None if self.process is None else self.process.shown()

    def steps(self) -> Iterable[Step]:
        if self.process is not None:
            yield from self.process.serving.steps()
            if self.process.recorder.busy:
                yield f"recorder of {self.name}", self.process.recorder.step
            if self.process.busy:
                yield f"publisher of {self.name}", self._go_on
        elif self.wanted:
            yield f"{self.name} starts", self.start

    def _go_on(self) -> None:
        assert self.process is not None
        try:
            self.process.go_on()
        except Ended as end:
            self.wanted = not isinstance(end, TakenOver)
            self.die()


class MasterProcess:
    """A master between its start and its end."""

    def __init__(self, name: str, workshop: Workshop, around: Surroundings) -> None:
        self.serving = Serving(name, self, around.network, around.claims)
        self.recorder = RecorderThread(self.serving.bodies, self._tell)
        self.core = Coordinator()
        self._claims = around.claims
        self.opening: Opening | None = None
        self._workshop = workshop
        self._work: deque[tuple[Opening, Work]] = deque()
        self._task: Generator[None, None, None] | None = self._start()
        self._shown: RoundStatus | None = None

    @property
    def busy(self) -> bool:
        """Whether the round is looked for, or one is being published."""
        return self._task is not None or bool(self._work)

    @property
    def empty(self) -> bool:
        """Whether it holds nothing of anybody that is not counted."""
        waiting = self.serving.waiting or self.serving.receiving or self.recorder.busy or self.busy
        return not waiting and not self.serving.bodies

    def go_on(self) -> None:
        """Do the next thing of those that are done one after the other."""
        if self._task is None:
            self._task = publish(self._workshop, *self._work.popleft(), self._take_over)
        try:
            next(self._task)
        except StopIteration:
            self._task = None

    def shown(self) -> RoundStatus | None:
        """Answer `GET /v1/round`."""
        plan = self.core.plan
        if plan is None:
            return None
        shown = self._shown
        if shown is None or (shown.pair, shown.state, shown.counted) != (plan.pair, self.core.state, self.core.counted):
            fields = {name: getattr(plan, name) for name in RoundPlan.model_fields}
            self._shown = RoundStatus(**fields, state=self.core.state, counted=self.core.counted, poll_after=FASTEST)
            self._claims.shown(self._shown)
        return self._shown

    def close_round(self) -> None:
        """Close the open round with what is counted, as the operator wants."""
        if self.core.plan is not None and not self.core.plan.finished:
            self._note_overdue(self.core.plan)

    def admit(self, round_number: int, client_id: str | None) -> RoundPlan:
        plan = self.core.plan
        if plan is None:
            raise Unavailable("no round is open yet", retry_after=1)
        refuse_by_address(plan, self.core.state, round_number, client_id)
        return plan

    def upload_began(self, upload: int) -> None:
        """Do nothing: the master holds nothing back while bytes come."""

    def upload_ended(self, upload: int) -> None:
        """Do nothing, likewise."""

    def offer(self, ticket: int, entry: Entry, upload: int) -> None:
        self._tell(Offered(ticket, entry))

    def _start(self) -> Generator[None, None, None]:
        recovered = yield from recover(self._workshop)
        self._take_over(recovered.opening, recovered.counted, closed=recovered.close is not None)
        if self._workshop.overdue == recovered.opening.folder.plan.pair:
            self._tell(CloseAsked(recovered.opening.folder.plan.round))
        if recovered.close is not None:
            self._work.append((recovered.opening, recovered.close))

    def _take_over(self, opening: Opening, counted: tuple[Contributor, ...] = (), *, closed: bool = False) -> None:
        self.opening = opening
        self._tell(Opened(opening.folder.plan, counted, closed))

    def _tell(self, event: Event) -> None:
        actions = self.core.handle_event(event)
        for action in actions:
            self._perform(action)
        for action in actions:
            if isinstance(action, NoteOverdue):
                self._note_overdue(action.plan)

    def _note_overdue(self, plan: RoundPlan) -> None:
        self._workshop.overdue = plan.pair
        self._tell(CloseAsked(plan.round))

    def _perform(self, action: Action) -> None:
        assert self.opening is not None, "the core acts on an open round only"
        match action:
            case Settle(ticket, outcome):
                self.serving.settle(ticket, outcome)
            case Record():
                self.recorder.queue.append((self.opening, action))
            case Close(_, contributors):
                self._work.append((self.opening, contributors))
            case DropBody(entry):
                self.serving.bodies.drop(entry.body)


class RecorderThread:
    """Makes durable together what was queued meanwhile, adds it to the sum, and only then says so."""

    def __init__(self, bodies: Bodies, tell: Callable[[Event], None]) -> None:
        self.queue: deque[tuple[Opening, Record]] = deque()
        self.fails_next = False
        self._bodies = bodies
        self._tell = tell
        self._written: tuple[int, ...] = ()

    @property
    def busy(self) -> bool:
        return bool(self.queue or self._written)

    def step(self) -> None:
        if self._written:
            tickets, self._written = self._written, ()
            self._tell(Recorded(tickets))
            return
        group = list(self.queue)
        self.queue.clear()
        tickets = tuple(record.ticket for _, record in group)
        fails, self.fails_next = self.fails_next, False
        if fails:
            self._tell(NotRecorded(tickets, Unavailable("the disk of the state directory is full", retry_after=5)))
            return
        for opening, record in group:
            part = self._bodies.read(record.entry.body)
            opening.folder.entries.append((record.entry, part))
            opening.total.update(part)
            self._bodies.drop(record.entry.body)
        self._written = tickets
