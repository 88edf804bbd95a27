"""What clients train here: a model of one size, of which each round makes another of the same size."""

from __future__ import annotations

from typing import Final

import numpy as np

from fedtier.dtypes import Array
from tests.system.wanderer import Noted

SHAPE: Final = (1024, 1024)


def steady_model() -> dict[str, Array]:
    """Return four mebibytes of float32, and a bias."""
    return {"weight": np.random.default_rng(4).standard_normal(SHAPE, np.float32), "bias": np.zeros(10, np.float32)}


class Steady(Noted):
    """Takes a step of chance; its data are a folder as `Noted`'s."""

    def initial_model(self, seed: int) -> dict[str, Array]:
        return steady_model()

    def _step(self, array: Array) -> Array:
        return array + self._rng.standard_normal(array.shape, np.float32)
