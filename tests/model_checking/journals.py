"""What a simulated master has on its disk, and how it opens a round: `master_aggregator.journal` and `opening`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn

from fedtier.entries import Entry
from fedtier.exact import ExactSum
from fedtier.fields import sha256_hex
from fedtier.kinds import TensorPlan
from fedtier.rounds import Contributor, ModelDigest, RoundPlan
from fedtier.store import StoredHead
from master_aggregator.closing import make_close_record
from master_aggregator.journal import Journal
from master_aggregator.opening import OpenRound, base_round
from master_aggregator.planning import plan_round
from master_aggregator.records import CloseRecord
from tests.model_checking.claims import Sum
from tests.model_checking.surroundings import Surroundings

_TENSORS: Final = (TensorPlan("steps", "I64", (), "integer", 0),)


class Ended(Exception):
    """A process ended itself, with a sentence."""


@dataclass(slots=True)
class Folder:
    """The journal of one round and attempt; outlives the process."""

    plan: RoundPlan
    opened_at: datetime
    entries: list[tuple[Entry, Sum]] = field(default_factory=list)
    model: Sum | None = None
    close: CloseRecord | None = None
    damaged: bool = False

    @property
    def contributors(self) -> tuple[Contributor, ...]:
        """Everyone who is counted."""
        return tuple(contributor for entry, _ in self.entries for contributor in entry.contributors)

    @property
    def total(self) -> Sum:
        """The sum of all entries."""
        total: Sum = Counter()
        for _, part in self.entries:
            total.update(part)
        return total


@dataclass(slots=True)
class Opening:
    """The open round of a process: its journal, its sum, and the head that opened it."""

    folder: Folder
    total: Sum
    head: StoredHead


class Workshop:
    """Opens rounds on one disk, where it also lies which of them closes as at its deadline."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.folders: dict[tuple[int, int], Folder] = {}
        self.overdue: tuple[int, int] | None = None

    def open_after(self, head: StoredHead, model: ModelDigest) -> Opening:
        """Open the round after the one that head names, under head's attempt."""
        now = self.around.now()
        base = base_round(head.head.round, model)
        plan = plan_round(self.around.rules, base=base, attempt=head.head.attempt, tensors=_TENSORS, now=now)
        self.around.claims.opened(plan.pair)
        self.folders[plan.pair] = Folder(plan, now)
        return Opening(self.folders[plan.pair], Counter(), head)

    def suffer(self, disk: str) -> None:
        """Have the disk kept, damaged or lost."""
        if disk == "lost":
            self.wipe()
        for folder in self.folders.values():
            folder.damaged = folder.damaged or disk == "damaged"

    def wipe(self) -> None:
        """Lose everything."""
        self.folders.clear()
        self.overdue = None

    def forget(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Delete journals that nobody needs any more."""
        for pair in tuple(pairs):
            del self.folders[pair]


def close_record_of(opening: Opening, contributors: tuple[Contributor, ...], now: datetime) -> CloseRecord:
    """Return the exact bytes that publish a round, as the shipped publisher makes them."""
    plan = opening.folder.plan
    opened = OpenRound(Journal(Path(), plan, opening.folder.opened_at, _die), ExactSum(plan.sums), opening.head)
    return make_close_record(opened, digest_of(opening.total), contributors, (now, now))


def digest_of(model: Sum) -> ModelDigest:
    """Return the digest of the model that a sum becomes."""
    return ModelDigest(sha256=sha256_hex(repr(sorted((+model).items())).encode()), bytes=1)


def _die(reason: str) -> NoReturn:
    raise Ended(reason)
