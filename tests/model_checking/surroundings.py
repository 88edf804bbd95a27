"""What all simulated processes have in common."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from fedtier.rounds import ClientSettings
from master_aggregator.planning import Rules
from tests.builders import WEIGHT_LIMIT, noon
from tests.model_checking.bucket import SimulatedBucket
from tests.model_checking.claims import Claims
from tests.model_checking.network import Network


@dataclass(slots=True)
class Surroundings:
    """The network, S3, who listens, what the operator wants, and clocks that stand still until they are moved."""

    network: Network
    claims: Claims
    bucket: SimulatedBucket
    rules: Rules
    seconds: float = 0.0
    _batches: Iterator[int] = field(default_factory=itertools.count)
    _moments: Iterator[int] = field(default_factory=itertools.count)

    def new_batch_id(self) -> str:
        return f"batch-{next(self._batches)}"

    def now(self) -> datetime:
        """Return a moment, later than the one before."""
        return noon(next(self._moments))


def rules_of(threshold: int) -> Rules:
    """Return an operator's rules: anyone takes part, and there is no last round."""
    return Rules(
        threshold=threshold,
        min_clients=1,
        deadline=None,
        weight_limit=WEIGHT_LIMIT,
        batch_max=4,
        final_round=None,
        clients=None,
        fraction=1.0,
        seed=0,
        client=ClientSettings(),
    )
