"""Lets faults befall a federation for a while, and looks at everything it publishes."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import requests

from fedtier.bucket import Bucket
from fedtier.bucket_errors import StoreUnavailable
from tests.system.chaos.audit import Audit, Broken
from tests.system.chaos.drawing import faults_of
from tests.system.chaos.excuses import look_for_unexcused
from tests.system.chaos.peace import end_in_peace
from tests.system.chaos.scene import CLIENTS, KEY, WORKERS, add_clients, scene
from tests.system.faults import Rival, kind_of
from tests.system.tree import Fault, Tree

_AHEAD: Final = 3
"""For how many rounds to come the faults are laid out."""
_BEHIND: Final = 2
"""How many rounds ago a round is that nothing befalls any more."""
_STUCK_AFTER: Final = 180.0
"""Seconds without a published round after which the federation is taken for stuck."""
_POLL: Final = 0.05


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has shown.

    Parameters
    ----------
    rounds : int
        All published, each once, each with the bytes of the independent recomputation.
    promises : int
        Answers of 200 to clients, all kept.
    faults : Counter of str
        How often each kind happened.
    absences : dict of str to list of float
        By program, the seconds from each end of its process until it was ready again.
    """

    rounds: int
    promises: int
    faults: Counter[str]
    absences: dict[str, list[float]]

    def lines(self) -> list[str]:
        """Return it to be read."""
        width = max(map(len, self.faults), default=0)
        tiers = {"master": ["master"], "workers": WORKERS, "clients": CLIENTS}
        return [
            f"{self.rounds} rounds, each published once with the recomputed SHA-256; {self.promises} promises kept",
            f"{'fault':{width}}  survived",
            *(f"{kind:{width}}  {times:8d}" for kind, times in sorted(self.faults.items())),
            f"{'all':{width}}  {self.faults.total():8d}",
            *(_absence_line(tier, [s for name in names for s in self.absences[name]]) for tier, names in tiers.items()),
        ]


def run(folder: Path, seed: str, is_over: Callable[[int], bool], tell: Callable[[str], None]) -> Report:
    """Run until it is over, then let the faults end and look at what is left.

    Parameters
    ----------
    folder : Path
    seed : str
    is_over : callable
        Is given how many rounds were looked at.
    tell : callable
        Takes lines about how it goes.

    Raises
    ------
    Broken
        What must hold does not.
    """
    with scene(folder, seed) as tree:
        assert tree.s3 is not None, "the scene has an S3 server of its own"
        bucket = Bucket(tree.s3.server.bucket, client=tree.s3.server.client)
        audit = Audit(bucket, KEY.removesuffix(".safetensors"), tree.ledger)
        add_clients(tree)
        faults = _befall(tree, audit, seed, is_over, tell)
        end_in_peace(tree, audit)
        look_for_unexcused(tree, audit, faults)
        absences = {name: keeper.absences for name, keeper in tree.keepers.items()}
        kinds = Counter(kind_of(fault) for fault in faults)
        return Report(audit.rounds, audit.look_at_promises(), kinds, absences)


def _befall(
    tree: Tree, audit: Audit, seed: str, is_over: Callable[[int], bool], tell: Callable[[str], None]
) -> list[Fault]:
    """Have round after round befallen by its faults, and look at those before; return what happened."""
    happened: list[Fault] = []
    laid_out = 0
    progress = time.monotonic()
    while not is_over(audit.rounds):
        published = _published(tree)
        while laid_out < published + _AHEAD:
            laid_out += 1
            for fault in faults_of(seed, laid_out):
                tree.expect(fault)
                if isinstance(fault, Rival):
                    audit.allow_rival(fault.round, fault.client_id)
        for fault in tree.happened(up_to=published - _BEHIND):
            tell(f"round {fault.round}: {fault}")
            happened.append(fault)
        before = audit.rounds
        _look(audit, published - _BEHIND)
        if audit.rounds > before:
            progress = time.monotonic()
            tell(f"round {audit.rounds} is as it must be")
        if time.monotonic() - progress > _STUCK_AFTER:
            raise Broken(f"no round was published for {_STUCK_AFTER:g} s after round {published}\n{tree.log_ends()}")
        threading.Event().wait(_POLL)
    return [*happened, *tree.happened()]


def _published(tree: Tree) -> int:
    """Return the newest round that is published, as far as anyone can say now."""
    with contextlib.suppress(requests.RequestException):
        return tree.federation["master"].status().base.round
    return 0


def _look(audit: Audit, up_to: int) -> None:
    with contextlib.suppress(StoreUnavailable):  # S3 is away; later, then
        audit.look(up_to=up_to)


def _absence_line(tier: str, seconds: list[float]) -> str:
    if not seconds:
        return f"{tier}: never away"
    median, longest = statistics.median(seconds), max(seconds)
    return f"{tier}: {len(seconds)} times away, ready again after {median:.1f} s (median), {longest:.1f} s at the most"
