"""The round that is open: its plan, its journal, its sum, and how the next one is opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from fedtier.exact import ExactSum
from fedtier.rounds import BaseRound, ModelDigest, Predecessor, RoundPlan
from fedtier.serving.models import ModelShelf
from fedtier.serving.statedir import StateDirectory
from fedtier.store import StoredHead
from master_aggregator.journal import Journal
from master_aggregator.planning import Rules, plan_round, plan_tensors


@dataclass(frozen=True, slots=True)
class OpenRound:
    """Everything that belongs to the open round.

    Parameters
    ----------
    journal : Journal
    total : ExactSum
        Of everyone who is counted.
    head : StoredHead
        The head that opened it; publishing it replaces this one.
    """

    journal: Journal
    total: ExactSum
    head: StoredHead

    @property
    def plan(self) -> RoundPlan:
        """The round's plan."""
        return self.journal.plan

    @property
    def predecessor(self) -> Predecessor:
        """The published round before it."""
        return Predecessor(round=self.head.head.round, manifest_sha256=self.head.head.manifest_sha256)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What opening a round takes.

    Parameters
    ----------
    rules : Rules
    state : StateDirectory
        Where journals lie.
    shelf : ModelShelf
    clock : callable
        Returns the time, with its zone.
    die : callable
        Ends the process with a sentence.
    """

    rules: Rules
    state: StateDirectory
    shelf: ModelShelf
    clock: Callable[[], datetime]
    die: Callable[[str], NoReturn]

    def open_after(self, head: StoredHead, model: ModelDigest, total: ExactSum | None = None) -> OpenRound:
        """Open the round after the one that head names, under head's attempt.

        Parameters
        ----------
        head : StoredHead
        model : ModelDigest
            Of the round that head names.
        total : ExactSum, optional
            That round's sum, which nobody needs any more: its memory serves the new one.

        Raises
        ------
        OSError
            The journal cannot be written.
        """
        base = base_round(head.head.round, model)
        path = self.shelf.path(base)
        now = self.clock()
        plan = plan_round(
            self.rules,
            base=base,
            attempt=head.head.attempt,
            tensors=plan_tensors(path, self.rules.weight_limit),
            now=now,
        )
        journal = Journal.create(self.state.path, plan, now, self.die)
        os.link(path, journal.base_path)
        if total is None:
            return OpenRound(journal, ExactSum(plan.sums), head)
        total.clear(plan.sums)
        return OpenRound(journal, total, head)


def base_round(round_number: int, model: ModelDigest) -> BaseRound:
    """Return how a published round's model is named to clients."""
    return BaseRound(round=round_number, sha256=model.sha256, bytes=model.bytes, url=f"/v1/rounds/{round_number}/model")
