"""Which entry goes into which batch, and who is told what: the worker's core.

Events in, actions out; no clock, thread, file or network. A worker has one batch
open and one in flight. It says that something is counted on its upstream's answer
only, never from its own state, and takes out of a batch, whole, every entry with a
contributor that the upstream has counted already.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fedtier.admission import refuse_unselected
from fedtier.entries import Counted, Entry, Outcome
from fedtier.partial_headers import contributors_room
from fedtier.problems import AlreadyCounted, AttemptOver, NotSelected, Problem, RoundOver, Unavailable
from fedtier.rounds import RoundPlan
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

STALLED_AFTER: Final = 0.2
"""An upload that delivered no byte for so many seconds holds no batch open."""
LINGER: Final = 0.005
"""Seconds without an upload after which no other is expected to come along: small ones end before the next begins."""
BATCH_BYTES: Final = 4 << 30
"""Of updates in a batch of more than two. It is read back before it is sent, and its senders wait for that."""


@dataclass(slots=True)
class _Open:
    """The open batch."""

    entries: dict[int, Entry] = field(default_factory=dict)
    since: float = 0.0

    @property
    def contributor_bytes(self) -> int:
        return sum(entry.contributor_bytes for entry in self.entries.values())

    @property
    def weight(self) -> int:
        return sum(entry.total_weight for entry in self.entries.values())


class Batcher:
    """The worker's state machine.

    Parameters
    ----------
    batch_max : int
        Entries at which a batch is sent without waiting for more; of large models fewer will do (`BATCH_BYTES`). So
        many updates of the most examples that the round allows are also the most weight of several entries together:
        the master counts on that (`RoundPlan.max_examples`). Nor do several have more contributors than a partial's
        header has room for. One partial alone goes whatever it is.
    batch_age : float
        Seconds after its first entry at which a batch is sent whatever still comes in.
    new_id : callable
        Makes random batch ids.
    """

    def __init__(self, *, batch_max: int, batch_age: float, new_id: Callable[[], str]) -> None:
        self._batch_max = batch_max
        self._batch_age = batch_age
        self._new_id = new_id
        self._plan: RoundPlan | None = None
        self._room = 0
        self._most_entries = batch_max
        self._open = _Open()
        self._flight: Batch | None = None
        self._waiting: deque[tuple[int, Entry]] = deque()
        self._joined: dict[int, list[int]] = {}
        self._uploads: dict[int, float] = {}
        self._received_at = -math.inf

    @property
    def unsettled(self) -> int:
        """How many entries wait for the upstream's answer."""
        flight = len(self._flight.entries) if self._flight else 0
        return len(self._open.entries) + flight + len(self._waiting)

    def handle_event(self, event: Event, now: float) -> list[Action]:
        """Take one event and return what is to be done about it, in order.

        Parameters
        ----------
        event : Event
        now : float
            Seconds on a monotonic clock.
        """
        actions: list[Action] = []
        match event:
            case RoundSeen(plan):
                actions += self._see_round(plan)
            case BytesCame(upload):
                self._uploads[upload] = self._received_at = now
            case UploadEnded(upload):
                self._end_upload(upload, now)
            case Offered(ticket, entry, finished):
                self._end_upload(finished, now)
                actions += self._offer(ticket, entry)
            case LeftOut(ticket, problem):
                actions += self._leave_out(ticket, problem)
            case BatchCounted():
                actions += self._batch_counted()
            case BatchRefused(problem):
                actions += self._batch_refused(problem)
            case Tick():
                pass
        self._fill(now)
        actions += self._seal_when_due(now)
        return actions

    def wake_at(self, now: float) -> float | None:
        """Return when a `Tick` is needed at the latest, or None while only events matter."""
        if self._flight is not None or not self._open.entries:
            return None
        stalls = [last + STALLED_AFTER for last in self._uploads.values()]
        return min(self._open.since + self._batch_age, max(now, self._received_at + LINGER, *stalls))

    def _end_upload(self, upload: int | None, now: float) -> None:
        if upload in self._uploads:
            del self._uploads[upload]
            self._received_at = now

    def _see_round(self, plan: RoundPlan) -> list[Action]:
        known = self._plan
        if known is not None and plan.pair <= known.pair:
            return []
        self._plan = plan
        self._room = contributors_room(plan)
        self._most_entries = most_entries(self._batch_max, plan.tensor_bytes)
        stale = [*self._open.entries.items(), *self._waiting]
        self._open = _Open()
        self._waiting.clear()
        actions: list[Action] = []
        for ticket, entry in stale:
            actions += self._finish(ticket, entry, _stale(entry, plan))
        return actions

    def _offer(self, ticket: int, entry: Entry) -> list[Action]:
        plan = self._plan
        if plan is None:
            return self._finish(ticket, entry, Unavailable("the round is not known yet", retry_after=1))
        if (entry.round, entry.attempt) != plan.pair:
            return self._finish(ticket, entry, _stale(entry, plan))
        try:
            refuse_unselected(plan, entry.client_ids)
        except NotSelected as problem:
            return self._finish(ticket, entry, problem)
        leader = self._repeated_by(entry)
        if leader is not None:
            self._joined.setdefault(leader, []).append(ticket)
            return [DropBody(entry)]
        self._waiting.append((ticket, entry))
        return []

    def _repeated_by(self, entry: Entry) -> int | None:
        """Return the ticket of the unsettled entry that this one repeats: the same client's, or the same partial."""
        for ticket, other in self._unsettled_entries():
            same_round = (other.round, other.attempt) == (entry.round, entry.attempt)
            if not same_round or other.kind != entry.kind or other.client_ids != entry.client_ids:
                continue
            if entry.kind == "update" or other.body.sha256 == entry.body.sha256:
                return ticket
        return None

    def _unsettled_entries(self) -> list[tuple[int, Entry]]:
        flight = self._flight.entries.items() if self._flight else ()
        return [*self._open.entries.items(), *flight, *self._waiting]

    def _fill(self, now: float) -> None:
        """Move what waits into the open batch, as far as it fits."""
        if self._plan is None or not self._waiting:
            return
        blocked = self._clients_in_batches()
        still: deque[tuple[int, Entry]] = deque()
        for ticket, entry in self._waiting:
            if blocked & entry.client_ids or not self._has_room(entry, self._plan):
                still.append((ticket, entry))
                blocked |= entry.client_ids  # a later entry of the same client must not overtake this one
                continue
            if not self._open.entries:
                self._open.since = now
            self._open.entries[ticket] = entry
            blocked |= entry.client_ids
        self._waiting = still

    def _clients_in_batches(self) -> set[str]:
        entries = list(self._open.entries.values())
        if self._flight is not None and self._plan is not None and self._flight.plan.pair == self._plan.pair:
            entries += self._flight.entries.values()
        return {client_id for entry in entries for client_id in entry.client_ids}

    def _has_room(self, entry: Entry, plan: RoundPlan) -> bool:
        if not self._open.entries:
            return True
        most_weight = min(plan.weight_limit, self._batch_max * plan.max_examples)
        return (
            len(self._open.entries) < self._most_entries
            and self._open.contributor_bytes + entry.contributor_bytes <= self._room
            and self._open.weight + entry.total_weight <= most_weight
        )

    def _seal_when_due(self, now: float) -> list[Action]:
        if self._flight is not None or not self._open.entries or self._plan is None:
            return []
        full = len(self._open.entries) >= self._most_entries or bool(self._waiting)
        if self._is_more_coming(now) and not full and now < self._open.since + self._batch_age:
            return []
        self._flight = Batch(self._new_id(), self._plan, self._open.entries)
        self._open = _Open()
        self._fill(now)
        return [Seal(self._flight)]

    def _is_more_coming(self, now: float) -> bool:
        if now < self._received_at + LINGER:
            return True
        return any(now < last + STALLED_AFTER for last in self._uploads.values())

    def _leave_out(self, ticket: int, problem: Problem) -> list[Action]:
        if self._flight is not None and ticket in self._flight.entries:
            rest = {t: e for t, e in self._flight.entries.items() if t != ticket}
            unread = self._flight.entries[ticket]
            self._flight = Batch(self._flight.batch_id, self._flight.plan, rest)
            return self._finish(ticket, unread, problem)
        return []

    def _batch_counted(self) -> list[Action]:
        batch, self._flight = self._flight, None
        if batch is None:
            return []
        actions: list[Action] = [Discard()]
        for ticket, entry in batch.entries.items():
            actions += self._finish(ticket, entry, _counted(entry, batch.plan))
        return actions

    def _batch_refused(self, problem: Problem) -> list[Action]:
        batch, self._flight = self._flight, None
        if batch is None:
            return []
        if isinstance(problem, AlreadyCounted):
            counted = _counted_digests(problem)
            hit = {t: e for t, e in batch.entries.items() if not e.client_ids.isdisjoint(counted)}
            if hit:
                return self._take_out(batch, hit, counted)
            problem = Unavailable("the upstream refused a batch for contributors it does not hold", retry_after=1)
        actions: list[Action] = [Discard()]
        for ticket, entry in batch.entries.items():
            actions += self._finish(ticket, entry, _relayed(problem, entry))
        return actions

    def _take_out(self, batch: Batch, hit: Mapping[int, Entry], counted: Mapping[str, str]) -> list[Action]:
        rest = {ticket: entry for ticket, entry in batch.entries.items() if ticket not in hit}
        actions: list[Action] = [Discard()]
        for ticket, entry in hit.items():
            actions += self._finish(ticket, entry, _already(entry, batch.plan, counted))
        if rest:  # last: on a full disk there is room for it in the place of what was dropped
            self._flight = Batch(self._new_id(), batch.plan, rest)
            actions.append(Seal(self._flight))
        return actions

    def _finish(self, ticket: int, entry: Entry, outcome: Outcome) -> list[Action]:
        tickets = [ticket, *self._joined.pop(ticket, [])]
        return [*(Settle(waiter, outcome) for waiter in tickets), DropBody(entry)]


def most_entries(batch_max: int, update_bytes: int) -> int:
    """Return how many updates or partials a batch has at most, where an update has so many bytes."""
    return min(batch_max, max(2, BATCH_BYTES // max(update_bytes, 1)))


def _counted(entry: Entry, plan: RoundPlan) -> Counted:
    return Counted(plan.round, plan.attempt, entry.contributors[0].sha256)


def _already(entry: Entry, plan: RoundPlan, counted: Mapping[str, str]) -> Outcome:
    """Return what the sender of an entry is told whose contributors are counted already, some or all."""
    if entry.kind == "update":
        return Counted(plan.round, plan.attempt, counted[entry.contributors[0].client_id])
    ids = sorted(entry.client_ids & counted.keys())
    return AlreadyCounted(
        f"{len(ids)} of {len(entry.contributors)} contributors are counted already; send the others without them",
        round=plan.round,
        attempt=plan.attempt,
        counted=[{"client_id": client_id, "sha256": counted[client_id]} for client_id in ids],
    )


def _counted_digests(problem: AlreadyCounted) -> dict[str, str]:
    """Return what counted, by client; an item of another form names nobody."""
    items = problem.members.get("counted", ())
    return {
        item["client_id"]: item["sha256"]
        for item in (items if isinstance(items, list | tuple) else ())
        if isinstance(item, Mapping) and isinstance(item.get("client_id"), str) and isinstance(item.get("sha256"), str)
    }


def _stale(entry: Entry, plan: RoundPlan) -> Problem:
    """Return what the sender of an entry is told that belongs to another round or attempt than the open one."""
    now: dict[str, Any] = {"round": plan.round, "attempt": plan.attempt}
    if (entry.round, entry.attempt) > plan.pair:
        return Unavailable("this worker does not know of that attempt yet", retry_after=1)
    if entry.round < plan.round:
        return RoundOver(f"round {entry.round} is closed; round {plan.round} is open", **now)
    return _attempt_over(entry, f"round {plan.round} started over as attempt {plan.attempt}", now)


def _attempt_over(entry: Entry, detail: str, now: Mapping[str, Any]) -> Problem:
    """Have a client send the same update again, and a worker drop what belongs to the old attempt."""
    if entry.kind == "update":
        return Unavailable(f"{detail}; send the update again", retry_after=1)
    return AttemptOver(detail, **now)


def _relayed(problem: Problem, entry: Entry) -> Problem:
    """Return what the sender of an entry is told when its whole batch was refused."""
    if isinstance(problem, AttemptOver):
        now: dict[str, Any] = {name: problem.members[name] for name in ("round", "attempt") if name in problem.members}
        return _attempt_over(entry, problem.detail, now)
    if problem.status == 409 or isinstance(problem, Unavailable):
        return problem
    return Unavailable(f"the upstream refused a batch: {problem.detail}", retry_after=5)
