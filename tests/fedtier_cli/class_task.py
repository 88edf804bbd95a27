"""Tasks without a framework that tell three classes apart; they note each model that they test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from client.task import Assessment, FitConfig
from fedtier.dtypes import Array

LABELS = ("low", "middle", "high")


def calls_of(data: Path) -> Path:
    """Where a task notes its calls: a line per tested model, beside its data."""
    return data.with_name(f"{data.name}.calls")


class Steps:
    """The class of a number is how many of the model's two steps it reaches; a row of the data is number and class."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.numbers, classes = np.loadtxt(data, delimiter=",", dtype=np.float32, ndmin=2).T
        self.classes = classes.astype(np.int64)

    def initial_model(self, seed: int) -> dict[str, Array]:
        return {"steps": np.array([1, 2], np.float32)}

    def fit(
        self, arrays: Mapping[str, Array], config: FitConfig
    ) -> tuple[Mapping[str, Array], int, Mapping[str, float]]:
        return arrays, len(self.numbers), {}

    def assess(self, arrays: Mapping[str, Array]) -> Assessment:
        with calls_of(self.data).open("a") as calls:
            print(arrays["steps"].tolist(), file=calls)
        said = (self.numbers[:, None] >= arrays["steps"]).sum(axis=1)
        confusion = np.zeros((3, 3), np.int64)
        np.add.at(confusion, (self.classes, said), 1)
        accuracy = float((said == self.classes).mean())
        return Assessment({"loss": 1 - accuracy, "accuracy": accuracy}, len(said), LABELS, confusion)


class Crooked(Steps):
    """Says of three classes what it should say of two."""

    def assess(self, arrays: Mapping[str, Array]) -> Assessment:
        return super().assess(arrays)._replace(labels=LABELS[:2])


class Endless(Steps):
    """Has a loss that is no number."""

    def assess(self, arrays: Mapping[str, Array]) -> Assessment:
        return super().assess(arrays)._replace(metrics={"loss": float("inf")})
