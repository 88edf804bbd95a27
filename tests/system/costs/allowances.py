"""What each tier may spend on a round, and why it has to: one table for each kind of thing that is counted.

A number that gets better is lowered here; the tests fail when it gets worse. `python -m tests.system.costs` shows both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.system.costs.rounds import ROUNDS, UPDATES, Played

REST: Final = 128 << 10
"""Bytes per round for what does not grow with the model: heads, records, manifests, logs."""
_PAGE: Final = 4096
_BY_THE_CLOCK: Final = frozenset({"poll", "evaluation asked for"})
"""Requests that come as often as time passes."""
_WAY_INTO: Final = {"worker": "client to worker", "master": "worker to master"}


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is allowed in all: so much for every update, for every partial and for every round.

    Parameters
    ----------
    update, partial, round : float
        Times; of bytes, times the size of an update, of a partial, of a model.
    models_per_partial : float
        Of the bytes of partials, how large one may be: times the size of a model.
    why : str
        What it is spent on.
    """

    why: str
    update: float = 0
    partial: float = 0
    round: float = 0
    models_per_partial: float = 0


_NOTHING: Final = Allowance("next to nothing")
_PAGES: Final[Mapping[str, Allowance]] = {
    "faults": Allowance("what threads take once, for all later rounds; less than one copy of an update", round=0.1),
    "usual faults": Allowance("buffers and files are written over", round=0.05),
}

SPENT: Final[Mapping[str, Mapping[str, Allowance]]] = {
    "client": {
        "bytes_read": Allowance("the update is sent; the model that came is mapped for the task", update=1),
        "bytes_written": Allowance("the update is saved and sent, the model that comes is kept", update=3),
        "reads": Allowance("an update is sent by the kernel, of a model only the header is read", update=10),
        "writes": Allowance(
            "a model is written by 1 MiB, an update by tensors; a line is logged at each step", update=34
        ),
        "syncs": Allowance("the update's file, and its name", update=2),
    },
    "worker": {
        "bytes_read": Allowance(
            "an update is checked, and then added up; the model is sent to each client, a partial to the master; "
            "the upper bytes of its numbers, a fifth, are read once more to be hashed",
            update=3,
            partial=1.2,
        ),
        "bytes_written": Allowance(
            "an update is spooled once, a partial written and sent, the model kept once and sent to each client",
            update=2,
            partial=2,
            round=1,
        ),
        # How many parts `sendfile` takes depends on how soon they are read: bounds of calls only find small blocks.
        "reads": Allowance(
            "an update is read by 256 KiB, a partial and the model are sent by 1 MiB", update=30, partial=60, round=40
        ),
        "writes": Allowance(
            "an update is spooled by 256 KiB, a partial coded by as much and less", update=30, partial=90, round=40
        ),
        **_PAGES,
    },
    "master": {
        "bytes_read": Allowance(
            "a partial is checked, and then added; the model is sent to the worker, to S3, and to its copy",
            partial=2,
            round=3,
        ),
        "bytes_written": Allowance(
            "a partial is spooled once, the mean written once and sent to the worker", partial=1, round=2
        ),
        "reads": Allowance(
            "a partial is read by 256 KiB and less, a model is sent to S3 by 16 KiB", partial=80, round=330
        ),
        "writes": Allowance("a partial is spooled by 256 KiB, the mean written by as much", partial=30, round=90),
        **_PAGES,
        "syncs": Allowance("4 for a commit: body, name, record, name; 2 to close, 3 to open", partial=4, round=5),
    },
}
"""By tier; a row that is not there allows nothing."""

REQUESTS: Final[Mapping[str, Mapping[str, Allowance]]] = {
    "client to worker": {
        "update": Allowance("each client sends its update once", update=1),
        "model": Allowance("each client fetches the model once", update=1),
    },
    "worker to master": {
        "partial": Allowance("each is sent once", partial=1),
        "model": Allowance("the worker fetches it once, whatever the number of its clients", round=1),
    },
    "master to S3": {
        "connections": Allowance("kept; what happens to be sent at once needs one more", round=1),
        "model stored": Allowance("once, under its digest", round=1),
        "manifest stored": Allowance("once, under its digest", round=1),
        "head stored": Allowance("once, by compare-and-swap", round=1),
        "copy stored": Allowance("once, for readers that know one key", round=1),
        "looked for": Allowance("whether the model is there, and which round the copy is of", round=2),
    },
}
"""By way, how often something is asked for; what is not there is not asked for at all."""

BYTES: Final[Mapping[str, Mapping[str, Allowance]]] = {
    "client to worker": {
        "update": Allowance("each passes once", update=1),
        "model": Allowance("each client gets it once", update=1),
    },
    "worker to master": {
        "partial": Allowance("a number takes 5 bytes, and 4 in the model", models_per_partial=1.25),
        "model": Allowance("the worker gets it once", round=1),
    },
    "master to S3": {
        "model stored": Allowance("once", round=1),
        "copy stored": Allowance("once", round=1),
    },
}
"""By way, the bytes of requests and answers together; what is not there takes next to nothing."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was counted, and how much of it is allowed.

    Parameters
    ----------
    what : str
    counted, allowed : float
        In calls or bytes.
    why : str
    """

    what: str
    counted: float
    allowed: float
    why: str

    @property
    def is_kept(self) -> bool:
        return self.counted <= self.allowed


def spent_lines(played: Played) -> Iterator[Line]:
    """Yield what each tier spent, but for the calls by which it answered what comes by the clock.

    Pages count twice: in all, and as the median of the rounds, as often as there were rounds. When a thread first makes
    a large buffer, the C library takes pages that serve all later ones, and which round that falls into is chance; the
    median, which leaves them out, may be held far shorter.
    """
    for tier, rounds in played.spent.items():
        allowed = SPENT[tier]
        spent = sum(rounds[1:], rounds[0])
        usual = ROUNDS * round(median(each.faults for each in rounds))
        woken = _answered_by_the_clock(played, tier)
        yield _times(played, f"{tier}: reads", spent.reads - woken, allowed.get("reads"))
        yield _times(played, f"{tier}: writes", spent.writes - woken, allowed.get("writes"))
        yield _times(played, f"{tier}: syncs", spent.syncs, allowed.get("syncs"))
        for what in ("bytes_read", "bytes_written"):
            yield _bytes(played, f"{tier}: {what}", getattr(spent, what), allowed.get(what))
        if tier != "client":  # whose training makes its own
            yield _bytes(played, f"{tier}: bytes of faults", spent.faults * _PAGE, allowed["faults"])
            yield _bytes(played, f"{tier}: bytes of faults, usually", usual * _PAGE, allowed["usual faults"])


def request_lines(played: Played) -> Iterator[Line]:
    """Yield how often what was asked for."""
    for way, passed in played.passed.items():
        for kind in sorted(passed.times.keys() - _BY_THE_CLOCK):
            yield _times(played, f"{way}: {kind}, times", passed.times[kind], REQUESTS[way].get(kind))


def byte_lines(played: Played) -> Iterator[Line]:
    """Yield the bytes that passed."""
    for way, passed in played.passed.items():
        for kind in sorted(passed.up.keys() - _BY_THE_CLOCK):
            yield _bytes(played, f"{way}: {kind}, bytes", passed.up[kind] + passed.down[kind], BYTES[way].get(kind))


def _answered_by_the_clock(played: Played, tier: str) -> int:
    """Return how often a tier answered such a request: each time a thread wakes the loop by a byte in a pipe."""
    passed = played.passed[_WAY_INTO[tier]].times if tier in _WAY_INTO else Counter[str]()
    return sum(passed[kind] for kind in _BY_THE_CLOCK)


def _times(played: Played, what: str, counted: int, allowance: Allowance | None) -> Line:
    granted = allowance or _NOTHING
    allowed = granted.update * UPDATES + granted.partial * played.partials + granted.round * ROUNDS
    return Line(what, counted, allowed, granted.why)


def _bytes(played: Played, what: str, counted: int, allowance: Allowance | None) -> Line:
    granted = allowance or _NOTHING
    models = granted.update * UPDATES + granted.round * ROUNDS + granted.models_per_partial * played.partials
    allowed = models * played.model_bytes + granted.partial * played.partial_bytes + REST * ROUNDS
    return Line(what, counted, allowed, granted.why)
