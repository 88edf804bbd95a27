"""What clients train: a walk of chance through every dtype, which no two trainings repeat; noted, where it is to be."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from client.task import FitConfig
from fedtier.dtypes import Array


class Wanderer:
    """Takes a step from the round's model, by the system's randomness: a second training has other bytes."""

    def __init__(self, data: Path) -> None:
        self._rng = np.random.default_rng(int.from_bytes(os.urandom(16), "little"))

    def initial_model(self, seed: int) -> dict[str, Array]:
        return {
            "conv.weight": np.ones((4, 3), np.float32),
            "conv.bias": np.zeros(4, np.float32),
            "norm.variance": np.ones(3, np.float64),
            "norm.batches": np.array(0, np.int64),
            "dense.half": np.ones((2, 3), np.float16),
            "dense.double": np.ones((2, 2), np.float64),
            "mask": _mask(),
            "histogram": np.zeros(3, np.uint8),
            "enabled": np.zeros(3, np.bool_),
        }

    def fit(
        self, arrays: Mapping[str, Array], config: FitConfig
    ) -> tuple[Mapping[str, Array], int, Mapping[str, float]]:
        threading.Event().wait(self._rng.exponential(0.1))
        update = {name: self._step(array) for name, array in arrays.items()}
        return update, int(self._rng.integers(1, 100)), {"loss": float(self._rng.random())}

    def _step(self, array: Array) -> Array:
        if array.dtype == np.bool_:
            return self._rng.random(array.shape) < 0.5
        if array.dtype.kind in "iu":
            return self._rng.integers(0, 200, array.shape).astype(array.dtype)
        with np.errstate(invalid="ignore"):
            return (array * 0.5 + self._rng.normal(size=array.shape)).astype(array.dtype)


class Noted(Wanderer):
    """Its data are a folder, in which ``fits`` gets a line per training.

    A named pipe ``gate-<round>`` keeps the training of a round from ending until somebody has written to it.
    """

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self._data = data

    def fit(
        self, arrays: Mapping[str, Array], config: FitConfig
    ) -> tuple[Mapping[str, Array], int, Mapping[str, float]]:
        with (self._data / "fits").open("a") as fits:
            fits.write(f"{config.round}\n")
        gate = self._data / f"gate-{config.round}"
        if gate.exists():
            gate.read_bytes()
        return super().fit(arrays, config)


def _mask() -> Array:
    """Return what is kept and never summed, so large that a body comes in several blocks and is checked in no time."""
    mask = np.zeros((600, 600), np.float32)
    mask[np.triu_indices(600, 1)] = -np.inf
    return mask
