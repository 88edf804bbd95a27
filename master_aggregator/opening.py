"""The round that is open: its plan, its journal, its sum, and how the next one is opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from fedtier.exact import ExactSum
from fedtier.kinds import TensorPlan, plan_by_magnitude
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

    def open_after(
        self,
        head: StoredHead,
        model: ModelDigest,
        total: ExactSum | None = None,
        magnitudes: tuple[float, ...] | None = None,
    ) -> OpenRound:
        """Open the round after the one that head names, under head's attempt.

        Parameters
        ----------
        head : StoredHead
        model : ModelDigest
            Of the round that head names.
        total : ExactSum, optional
            That round's sum, which nobody needs any more: its memory serves the new one.
        magnitudes : tuple of float, optional
            Of the model's tensors, where `total` is the sum whose mean it is: then it is not read again.

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
            tensors=self._plan_tensors(path, total, magnitudes),
            now=now,
        )
        journal = Journal.create(self.state.path, plan, now, self.die)
        os.link(path, journal.base_path)
        if total is None:
            return OpenRound(journal, ExactSum(plan.sums), head)
        total.clear(plan.sums)
        return OpenRound(journal, total, head)

    def _plan_tensors(
        self, path: Path, total: ExactSum | None, magnitudes: tuple[float, ...] | None
    ) -> tuple[TensorPlan, ...]:
        limit = self.rules.weight_limit
        # Under another limit than the sum's, the mean's values are not known to be in range.
        if total is None or magnitudes is None or total.plan.weight_limit != limit:
            return plan_tensors(path, limit)
        return tuple(
            plan_by_magnitude(tensor.spec, magnitude, limit)
            for tensor, magnitude in zip(total.plan.tensors, magnitudes, strict=True)
        )


def base_round(round_number: int, model: ModelDigest) -> BaseRound:
    """Return how a published round's model is named to clients."""
    return BaseRound(round=round_number, sha256=model.sha256, bytes=model.bytes, url=f"/v1/rounds/{round_number}/model")
