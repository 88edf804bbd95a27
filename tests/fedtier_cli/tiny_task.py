"""A task without a framework, small enough that a round takes milliseconds: a line through points."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from client.task import FitConfig
from fedtier.dtypes import Array

STEP = np.float32(0.01)


class Untested:
    """Fits ``y = slope * x + offset`` to the rows of a CSV file; a random step makes the seed count."""

    def __init__(self, data: Path) -> None:
        self.points = np.loadtxt(data, delimiter=",", dtype=np.float32, ndmin=2)

    def initial_model(self, seed: int) -> dict[str, Array]:
        return {"line": np.random.default_rng(seed).normal(size=2).astype(np.float32)}

    def fit(
        self, arrays: Mapping[str, Array], config: FitConfig
    ) -> tuple[Mapping[str, Array], int, Mapping[str, float]]:
        slope, offset = arrays["line"]
        x, y = self.points.T
        error = slope * x + offset - y
        step = np.array([(error * x).mean(), error.mean()], np.float32) * np.float32(config.lr)
        noise = STEP * np.random.default_rng(config.seed).normal(size=2).astype(np.float32)
        return {"line": arrays["line"] - step + noise}, len(x), {"loss": float(np.square(error).mean())}


class Line(Untested):
    """The same, and it can say how good a line is."""

    def evaluate(self, arrays: Mapping[str, Array]) -> Mapping[str, float]:
        slope, offset = arrays["line"]
        x, y = self.points.T
        error = np.abs(slope * x + offset - y)
        return {"loss": float(np.square(error).mean()), "accuracy": float((error < 1).mean())}


class Resting(Line):
    """The same, and it trains in one round only: a run of it goes on for ever, and takes nothing from others."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.rounds = 0

    def fit(
        self, arrays: Mapping[str, Array], config: FitConfig
    ) -> tuple[Mapping[str, Array], int, Mapping[str, float]]:
        self.rounds += 1
        if self.rounds > 1:
            threading.Event().wait()
        return super().fit(arrays, config)


class Tenths:
    """Counts rounds: the model of round r has an accuracy of r tenths, and at most 1."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def initial_model(self, seed: int) -> dict[str, Array]:
        return {"rounds": np.zeros(1, np.float32)}

    def fit(
        self, arrays: Mapping[str, Array], config: FitConfig
    ) -> tuple[Mapping[str, Array], int, Mapping[str, float]]:
        return {"rounds": arrays["rounds"] + np.float32(1)}, 1, {}

    def evaluate(self, arrays: Mapping[str, Array]) -> Mapping[str, float]:
        return {"accuracy": min(float(arrays["rounds"][0]) / 10, 1.0)}


class Regression(Tenths):
    """The same without classes, so without an accuracy."""

    def evaluate(self, arrays: Mapping[str, Array]) -> Mapping[str, float]:
        return {"loss": float(arrays["rounds"][0])}
