"""What may happen to a worker, and what it may do about it: the words of its core (`worker_aggregator.batch`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from fedtier.entries import Entry, Outcome
from fedtier.problems import Problem
from fedtier.rounds import RoundPlan

# Events: what happened.


@dataclass(frozen=True, slots=True)
class RoundSeen:
    """The upstream shows a round; an older one than known changes nothing."""

    plan: RoundPlan


@dataclass(frozen=True, slots=True)
class BytesCame:
    """An upload is coming in; `upload` names it."""

    upload: int


@dataclass(frozen=True, slots=True)
class UploadEnded:
    """The body of an upload is complete, or broke off."""

    upload: int


@dataclass(frozen=True, slots=True)
class Offered:
    """A checked entry wants to be counted; `ticket` names it from here on.

    Its upload ends with it: the batch that was held open for it takes it.
    """

    ticket: int
    entry: Entry
    upload: int | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry of the batch in flight could not be read; the batch goes without it."""

    ticket: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class BatchCounted:
    """The upstream counted the batch in flight."""


@dataclass(frozen=True, slots=True)
class BatchRefused:
    """The upstream refused the batch in flight, or it could not be made."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


Event: TypeAlias = RoundSeen | BytesCame | UploadEnded | Offered | LeftOut | BatchCounted | BatchRefused | Tick


# Actions: what is to be done, in this order.


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes upstream together."""

    batch_id: str
    plan: RoundPlan
    entries: Mapping[int, Entry]


@dataclass(frozen=True, slots=True)
class Seal:
    """Add up a batch, and send it."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Discard:
    """Drop the file of the batch in flight; its answer has come."""


@dataclass(frozen=True, slots=True)
class DropBody:
    """Delete an entry's file; nothing needs it any more."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Settle:
    """Tell whoever waits for a ticket."""

    ticket: int
    outcome: Outcome


Action: TypeAlias = Seal | Discard | DropBody | Settle
