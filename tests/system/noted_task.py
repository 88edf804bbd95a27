"""A task that notes every training, and makes another update each time: nothing it did twice stays hidden."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from client.task import FitConfig
from fedtier.dtypes import Array


class Noted:
    """Learns nothing; its data are a folder.

    ``fits`` gets a line per training. A named pipe ``gate-<round>`` keeps the training of a round from ending until
    somebody has written to it.
    """

    def __init__(self, data: Path) -> None:
        self._data = data

    def initial_model(self, seed: int) -> dict[str, Array]:
        return {"mean": np.zeros(1, np.float32)}

    def fit(
        self, arrays: Mapping[str, Array], config: FitConfig
    ) -> tuple[Mapping[str, Array], int, Mapping[str, float]]:
        with (self._data / "fits").open("a") as fits:
            fits.write(f"{config.round}\n")
        gate = self._data / f"gate-{config.round}"
        if gate.exists():
            gate.read_bytes()
        rng = np.random.default_rng()  # on purpose without the round's seed
        return {name: rng.random(array.shape, np.float32) for name, array in arrays.items()}, 10, {"loss": 0.5}
