"""What is counted, and when the round closes: the master's core.

Events in, actions out; no clock, thread, file or network. The master decides by
contributors: an entry of new ones is claimed, journaled, added, and only then
counted; an entry that overlaps a claim waits for the claim's outcome.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from fedtier.admission import refuse_by_address, refuse_unselected
from fedtier.entries import Counted, Entry, Outcome
from fedtier.problems import AlreadyCounted, AttemptOver, Problem, Unavailable, WeightLimit
from fedtier.rounds import Contributor, RoundPlan, State

# Events: what happened.


@dataclass(frozen=True, slots=True)
class Opened:
    """A round is open: a new one, or one that a journal brought back, perhaps closed already."""

    plan: RoundPlan
    counted: tuple[Contributor, ...] = ()
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Offered:
    """A checked entry wants to be counted; `ticket` names it from here on."""

    ticket: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Recorded:
    """Entries are durable and in the sum."""

    tickets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NotRecorded:
    """Entries could not be made durable; the sum is unchanged."""

    tickets: tuple[int, ...]
    problem: Problem


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""

    now: datetime


@dataclass(frozen=True, slots=True)
class CloseAsked:
    """A round is to close with what is counted, as at its deadline, and this is durable; nothing if another is open."""

    round: int


@dataclass(frozen=True, slots=True)
class OverdueNotNoted:
    """What `NoteOverdue` wants could not be made durable."""

    round: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """The operator wants the round to take nothing, or to go on."""

    paused: bool


Event: TypeAlias = Opened | Offered | Recorded | NotRecorded | Tick | CloseAsked | OverdueNotNoted | PauseAsked


# Actions: what is to be done, in this order.


@dataclass(frozen=True, slots=True)
class Record:
    """Make an entry durable, then add it to the sum."""

    ticket: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Settle:
    """Tell whoever waits for a ticket."""

    ticket: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class DropBody:
    """Delete an entry's file; it is not counted."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class NoteOverdue:
    """Make durable that the round closes as at its deadline, then answer with `CloseAsked`, or `OverdueNotNoted`.

    Clients who are told what follows from it go; so nobody is told before the answer.
    """

    plan: RoundPlan


@dataclass(frozen=True, slots=True)
class Close:
    """Publish the round: the sum holds exactly these contributors, and nothing more comes."""

    plan: RoundPlan
    contributors: tuple[Contributor, ...]


@dataclass(frozen=True, slots=True)
class StayOpen:
    """Say that the deadline passed, and that the round waits for so many more contributors."""

    plan: RoundPlan
    counted: int
    missing: int


Action: TypeAlias = Record | Settle | DropBody | NoteOverdue | Close | StayOpen


class Coordinator:
    """The master's state machine."""

    def __init__(self) -> None:
        self._plan: RoundPlan | None = None
        self._counted: dict[str, Contributor] = {}
        self._weight = 0
        self._claims: dict[int, Entry] = {}
        self._waiting: deque[tuple[int, Entry]] = deque()
        self._paused = False
        self._overdue = False
        self._note: Literal["none", "wanted", "made"] = "none"
        self._deadline: Literal["ahead", "passed", "told"] = "ahead"
        self._close_sent = False

    @property
    def plan(self) -> RoundPlan | None:
        """The open round's plan; None before the first `Opened`."""
        return self._plan

    @property
    def counted(self) -> int:
        """How many contributors are counted."""
        return len(self._counted)

    @property
    def state(self) -> State:
        """The round's state, as `GET /v1/round` shows it."""
        if self._plan is not None and self._plan.finished:
            return "finished"
        if self._is_closing():
            return "publishing"
        return "paused" if self._paused else "collecting"

    def handle_event(self, event: Event) -> list[Action]:
        """Take one event and return what is to be done about it, in order."""
        actions: list[Action] = []
        match event:
            case Opened(plan, counted, closed):
                self._open(plan, counted, closed)
            case Offered(ticket, entry):
                actions += self._judge(ticket, entry)
            case Recorded(tickets):
                actions += self._record(tickets)
            case NotRecorded(tickets, problem):
                actions += self._release(tickets, problem)
            case Tick(now):
                self._look_at_deadline(now)
            case CloseAsked(number):
                actions += self._close_asked(number)
            case OverdueNotNoted(number, problem):
                actions += self._refuse_too_heavy(number, problem)
            case PauseAsked(paused):
                self._paused = paused
        return [*actions, *self._close_when_due(), *self._tell_of_deadline()]

    def _open(self, plan: RoundPlan, counted: tuple[Contributor, ...], closed: bool) -> None:
        self._plan = plan
        self._counted = {contributor.client_id: contributor for contributor in counted}
        self._weight = sum(contributor.num_examples for contributor in counted)
        self._overdue = False
        self._note = "none"
        self._deadline = "ahead"
        self._close_sent = closed

    def _judge(self, ticket: int, entry: Entry) -> list[Action]:
        """Refuse an entry, let it wait, or claim its contributors."""
        plan = self._plan
        if plan is None:
            return _refuse(ticket, entry, Unavailable("no round is open yet", retry_after=1))
        try:
            self._require_open(plan, entry)
        except Problem as problem:
            return _refuse(ticket, entry, problem)
        known = self._known(entry)
        if known:
            return self._settle_counted(ticket, entry, plan, known)
        if self._is_too_heavy(plan, entry):
            return self._close_for(ticket, entry, plan)
        if self._is_in_doubt(plan, entry):
            self._waiting.append((ticket, entry))
            return []
        self._claims[ticket] = entry
        return [Record(ticket, entry)]

    def _known(self, entry: Entry) -> list[str]:
        """Return the contributors that are counted already."""
        return sorted(entry.client_ids & self._counted.keys())

    def _close_for(self, ticket: int, entry: Entry, plan: RoundPlan) -> list[Action]:
        """Refuse an entry for want of room, and close as at the deadline: which is in the plan, while this is noted."""
        if self._overdue or self._note == "made":
            return _refuse(ticket, entry, _too_heavy(entry, plan, self._weight))
        self._waiting.append((ticket, entry))
        if self._note == "wanted":
            return []
        self._note = "wanted"
        return [NoteOverdue(plan)]

    def _is_too_heavy(self, plan: RoundPlan, entry: Entry) -> bool:
        return self._weight + entry.total_weight > plan.weight_limit

    def _is_in_doubt(self, plan: RoundPlan, entry: Entry) -> bool:
        """Return whether what becomes of an entry depends on claims whose outcome is open."""
        claims = self._claims.values()
        weight = self._weight + sum(claim.total_weight for claim in claims)
        contributors = len(self._counted) + sum(len(claim.contributors) for claim in claims)
        return (
            any(entry.client_ids & claim.client_ids for claim in claims)
            or weight + entry.total_weight > plan.weight_limit
            or contributors >= self._quorum(plan)  # the claims close the round: only the last may carry it further
        )

    def _quorum(self, plan: RoundPlan) -> int:
        """Return how many contributors close the round as things stand."""
        return min(plan.min_clients, plan.threshold) if self._overdue else plan.threshold

    def _require_open(self, plan: RoundPlan, entry: Entry) -> None:
        if entry.round == plan.round and entry.attempt != plan.attempt:
            raise _other_attempt(entry, plan)
        refuse_by_address(plan, self.state, entry.round, None)
        refuse_unselected(plan, entry.client_ids)

    def _settle_counted(self, ticket: int, entry: Entry, plan: RoundPlan, known: list[str]) -> list[Action]:
        if entry.kind == "update":
            first = self._counted[known[0]]
            return [Settle(ticket, Counted(plan.round, plan.attempt, first.sha256)), DropBody(entry)]
        problem = AlreadyCounted(
            f"{len(known)} of {len(entry.contributors)} contributors are counted already; send the others without them",
            round=plan.round,
            attempt=plan.attempt,
            counted=[{"client_id": c, "sha256": self._counted[c].sha256} for c in known],
        )
        return _refuse(ticket, entry, problem)

    def _record(self, tickets: tuple[int, ...]) -> list[Action]:
        assert self._plan is not None, "entries are claimed of an open round only"
        actions: list[Action] = []
        for ticket in tickets:
            entry = self._claims.pop(ticket)
            self._counted.update((contributor.client_id, contributor) for contributor in entry.contributors)
            self._weight += entry.total_weight
            digest = entry.contributors[0].sha256
            actions.append(Settle(ticket, Counted(self._plan.round, self._plan.attempt, digest)))
        return [*actions, *self._judge_waiting()]

    def _release(self, tickets: tuple[int, ...], problem: Problem) -> list[Action]:
        actions: list[Action] = []
        for ticket in tickets:
            actions += _refuse(ticket, self._claims.pop(ticket), problem)
        return [*actions, *self._judge_waiting()]

    def _judge_waiting(self) -> list[Action]:
        waiting, self._waiting = self._waiting, deque()
        actions: list[Action] = []
        for ticket, entry in waiting:
            actions += self._judge(ticket, entry)
        return actions

    def _close_asked(self, number: int) -> list[Action]:
        plan = self._plan
        if plan is None or plan.round != number or plan.finished or self._close_sent:
            return []
        self._note = "made"
        actions = self._judge_waiting()  # before the round closes: what is too heavy hears of that
        self._overdue = True
        return actions

    def _refuse_too_heavy(self, number: int, problem: Problem) -> list[Action]:
        """Let whoever waits for the note come again; the round goes on as if nobody had come."""
        plan = self._plan
        if plan is None or plan.round != number or self._note != "wanted":
            return []
        self._note = "none"
        waiting, self._waiting = self._waiting, deque()
        actions: list[Action] = []
        for ticket, entry in waiting:
            if self._is_too_heavy(plan, entry):
                actions += _refuse(ticket, entry, problem)
            else:
                self._waiting.append((ticket, entry))
        return actions

    def _look_at_deadline(self, now: datetime) -> None:
        plan = self._plan
        if plan is not None and plan.deadline is not None and now >= plan.deadline:
            self._overdue = True
            if self._deadline == "ahead":
                self._deadline = "passed"

    def _tell_of_deadline(self) -> list[Action]:
        """Tell once that the deadline passed without the quorum; claims are counted first."""
        plan = self._plan
        if plan is None or self._deadline != "passed" or self._claims:
            return []
        self._deadline = "told"
        missing = self._quorum(plan) - len(self._counted)
        return [] if plan.finished or self._is_closing() else [StayOpen(plan, len(self._counted), missing)]

    def _close_when_due(self) -> list[Action]:
        """Close at the threshold, or past the deadline with enough; claims are counted first."""
        plan = self._plan
        if plan is None or plan.finished or self._close_sent or self._claims or not self._is_closing():
            return []
        self._close_sent = True
        by_id: Mapping[str, Contributor] = self._counted
        close = Close(plan, tuple(by_id[client_id] for client_id in sorted(by_id)))
        return [close, *self._judge_waiting()]  # without claims, only a note can have been waited for

    def _is_closing(self) -> bool:
        """Return whether the round takes nothing more; once true, it stays so until the next round opens."""
        plan = self._plan
        return self._close_sent or (plan is not None and len(self._counted) >= self._quorum(plan))


def _refuse(ticket: int, entry: Entry, problem: Problem) -> list[Action]:
    return [Settle(ticket, problem), DropBody(entry)]


def _other_attempt(entry: Entry, plan: RoundPlan) -> Problem:
    now: dict[str, Any] = {"round": plan.round, "attempt": plan.attempt}
    if entry.attempt > plan.attempt:
        return Unavailable("this master does not know of that attempt; another one may have taken over", retry_after=5)
    if entry.kind == "update":
        return Unavailable(f"round {plan.round} started over; send the update again", retry_after=1)
    return AttemptOver(f"round {plan.round} started over as attempt {plan.attempt}", **now)


def _too_heavy(entry: Entry, plan: RoundPlan, weight: int) -> WeightLimit:
    now: dict[str, Any] = {"round": plan.round, "attempt": plan.attempt}
    return WeightLimit(
        f"{entry.total_weight} more examples on top of {weight} exceed the round's limit of {plan.weight_limit}; "
        "the round closes as at its deadline",
        **now,
    )
