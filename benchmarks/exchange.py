"""The task that benchmarks' clients run: it trains nothing, and waits at a barrier with its update ready.

``fedtier client --task benchmarks/exchange.py:Exchange --data DATA``, where DATA is JSON as `Part` has it. The
class knows `fedtier client` only as any task does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.barrier import arrive
from benchmarks.updates import ClientUpdates, Floats, Outline, opening_bias

if TYPE_CHECKING:
    from client.task import FitConfig
    from fedtier.dtypes import Array


@dataclass(frozen=True, slots=True)
class Part:
    """What one client plays.

    Parameters
    ----------
    client : int
    rows : int
        Of the model's `Outline`.
    seed : int
        Of all values.
    barrier : str
        Where to wait.
    party : str
        As whom; clients that share a process take turns there.
    """

    client: int
    rows: int
    seed: int
    barrier: str
    party: str

    def write(self, path: Path) -> None:
        """Write it as the data of a client."""
        path.write_text(json.dumps(asdict(self)))


class Exchange:
    """Sends updates that were made before the first round.

    Parameters
    ----------
    data : Path
        A `Part`.
    """

    def __init__(self, data: Path) -> None:
        self._part = Part(**json.loads(data.read_text()))
        self._updates = ClientUpdates.made(Outline(self._part.rows), self._part.seed, self._part.client)

    def initial_model(self, seed: int) -> dict[str, Floats]:
        """Return a model of the right shape."""
        outline = self._updates.outline
        return outline.arrays(self._updates.values[outline.window(0)], opening_bias())

    def fit(self, arrays: Mapping[str, Array], config: FitConfig) -> tuple[dict[str, Floats], int, dict[str, float]]:
        """Wait until all clients hold the round's model, and return an update."""
        update = self._updates.of_round(config.round)
        arrive(self._part.barrier, self._part.party, config.round)
        return update, self._updates.num_examples, {"loss": 0.5}
