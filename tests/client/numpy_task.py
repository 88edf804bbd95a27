"""A task without a framework: learns the mean of a column of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from client.task import FitConfig
from fedtier.dtypes import Array


class ColumnMean:
    def __init__(self, data: Path) -> None:
        self.values = np.loadtxt(data, dtype=np.float32, ndmin=1)
        self.fits = 0

    def initial_model(self, seed: int) -> dict[str, Array]:
        return {"mean": np.zeros(1, np.float32)}

    def fit(
        self, arrays: Mapping[str, Array], config: FitConfig
    ) -> tuple[Mapping[str, Array], int, Mapping[str, float]]:
        self.fits += 1
        error = float(np.abs(self.values.mean() - arrays["mean"]).max())
        return {"mean": np.full(1, self.values.mean(), np.float32)}, len(self.values), {"loss": error}


class Table:
    """Learns a table of numbers by heart; counts as one more example than its client's number."""

    def __init__(self, data: Path) -> None:
        self.values = np.load(data)
        self.num_examples = int(data.stem.rpartition("-")[2]) + 1

    def initial_model(self, seed: int) -> dict[str, Array]:
        return {"table": np.zeros_like(self.values)}

    def fit(
        self, arrays: Mapping[str, Array], config: FitConfig
    ) -> tuple[Mapping[str, Array], int, Mapping[str, float]]:
        return {"table": self.values}, self.num_examples, {}
