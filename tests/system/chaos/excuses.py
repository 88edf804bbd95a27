"""What faults excuse, and what they do not: processes that end, attempts that come to nothing, lines in logs."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tests.system.chaos.audit import Audit, Broken
from tests.system.chaos.scene import WORKERS
from tests.system.faults import DiskLost, Killed, S3ReplyLost, SecondMaster, ToldToStop
from tests.system.keepers import Ending
from tests.system.tree import Fault, Tree

_NEVER: Final = (
    "a thread was lost",
    "a request failed",
    "the program could not start",
    "the journal is damaged",
)
"""Events that no fault excuses."""
_TAKEN_OVER: Final = "another master has taken over"
_REASONS: Final = (
    _TAKEN_OVER,
    "head in S3 keeps moving",
    "cannot be reached",
    "the disk of the state directory is full",
    "No space left on device",
    "is in use by another process",
    "Address already in use",
)
"""For one of these, which faults bring about, an aggregator may end, or not start."""


def look_for_unexcused(tree: Tree, audit: Audit, faults: Sequence[Fault]) -> None:
    """Look for what went wrong without a fault.

    Raises
    ------
    Broken
    """
    _look_at_endings(tree, Counter(fault.tier for fault in faults if isinstance(fault, ToldToStop)))
    for name in ("master", *WORKERS):
        found = [fact for event in _NEVER for fact in tree.federation[name].events(event)]
        found += [fact for fact in tree.federation[name].events("stopped") if _TAKEN_OVER not in fact["reason"]]
        if found:
            raise Broken(f"{name}: {found[0]}")
    excused = _excused_attempts(faults)
    if audit.attempts_lost > excused:
        raise Broken(f"{audit.attempts_lost} attempts came to nothing, and faults explain {excused}")


def _look_at_endings(tree: Tree, told: Counter[str]) -> None:
    """Check that each process was killed, ended as often as it was told to, or had a reason that faults bring about."""
    for name, keeper in tree.keepers.items():
        for ending in keeper.endings:
            if ending.status in {0, -signal.SIGTERM}:  # the latter where it had hardly begun to start
                told[name] -= 1
            elif ending.status != -signal.SIGKILL and (name.startswith("client") or not _has_a_reason(ending)):
                raise Broken(f"{name} ended with status {ending.status}\n{ending.log_end}")
        if told[name] < 0:
            raise Broken(f"{name} ended {-told[name]} times as if it had been told to")


def _has_a_reason(ending: Ending) -> bool:
    return any(reason in ending.log_end for reason in _REASONS)


def _excused_attempts(faults: Sequence[Fault]) -> int:
    """Return how many attempts faults may have cost: of two masters either claims one, and a claim may be cut off."""
    cost = 1  # of the very first start
    for fault in faults:
        match fault:
            case SecondMaster():
                cost += 2
            case DiskLost() | S3ReplyLost() | Killed("master", at=None):
                cost += 1
    return cost
