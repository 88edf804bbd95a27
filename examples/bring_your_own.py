"""Your own model and your own data in one file, with nothing but NumPy: who rests, who walks, who cycles.

Each client is a person who wears an accelerometer. An example is two seconds of what it measures, and whether the
person rests, walks or cycles meanwhile. Everybody moves in a way of their own, and hardly anybody does all three.

    .venv/bin/python examples/bring_your_own.py activities
    ./train.sh --model examples/bring_your_own.py:Activities --data-dir activities --clients 6 --round 10 --lr 0.1

The first call makes the data of six people, and of others to test on.

`Activities` has what a task needs: a model to begin with, a way to train it, a way to say how good it is.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from client.task import Assessment, FitConfig, FitResult

Floats: TypeAlias = npt.NDArray[np.float32]

LABELS: Final = ("rest", "walk", "cycle")
SAMPLES: Final = 50
RATE: Final = 25.0
"""Samples per second."""
FREQUENCIES: Final = SAMPLES // 2 + 1


class Activities:
    """Tells activities apart by the frequencies in them: softmax regression on a window's spectrum.

    Parameters
    ----------
    data : Path
        A CSV file: one window per row, `SAMPLES` measurements and the number of its label.
    """

    def __init__(self, data: Path) -> None:
        table = np.loadtxt(data, delimiter=",", dtype=np.float32, ndmin=2)
        spectrum = np.abs(np.fft.rfft(table[:, :SAMPLES], axis=1, norm="ortho"))
        self.inputs: Floats = spectrum.astype(np.float32)
        self.targets = np.eye(len(LABELS), dtype=np.float32)[table[:, SAMPLES].astype(int)]

    def initial_model(self, seed: int) -> dict[str, Floats]:
        """Return small weights [frequencies, labels] and no bias."""
        weight = np.random.default_rng(seed).normal(0, 0.01, (FREQUENCIES, len(LABELS)))
        return {"weight": weight.astype(np.float32), "bias": np.zeros(len(LABELS), np.float32)}

    def fit(self, arrays: Mapping[str, npt.NDArray[Any]], config: FitConfig) -> FitResult:
        """Descend the gradient batch by batch; momentum and weight decay are left out, FedProx is not."""
        model = {name: np.array(array) for name, array in arrays.items()}
        rng = np.random.default_rng(config.seed)
        for _ in range(config.epochs):
            order = rng.permutation(len(self.inputs))
            for batch in np.array_split(order, -(-len(order) // config.batch_size)):
                error = (_probabilities(model, self.inputs[batch]) - self.targets[batch]) / np.float32(len(batch))
                gradients = {"weight": self.inputs[batch].T @ error, "bias": error.sum(axis=0)}
                for name, gradient in gradients.items():
                    pull = np.float32(config.prox_mu) * (model[name] - arrays[name])
                    model[name] -= np.float32(config.lr) * (gradient + pull)
        return FitResult(model, len(self.inputs), self.assess(model).metrics)

    def assess(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Assessment:
        """Return loss and accuracy, and which activity was taken for which."""
        probabilities = _probabilities(arrays, self.inputs)
        truth, said = self.targets.argmax(axis=1), probabilities.argmax(axis=1)
        chances = np.maximum((probabilities * self.targets).sum(axis=1), 1e-12)
        confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
        np.add.at(confusion, (truth, said), 1)
        metrics = {"loss": float(-np.log(chances).mean()), "accuracy": float((truth == said).mean())}
        return Assessment(metrics, len(truth), LABELS, confusion)


def _probabilities(model: Mapping[str, npt.NDArray[Any]], inputs: Floats) -> Floats:
    scores = inputs @ model["weight"] + model["bias"]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def person(rng: np.random.Generator, windows: int, habits: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Return what one person's sensor measures, one window and its label per row.

    Parameters
    ----------
    rng : Generator
    windows : int
    habits : tuple of float
        Which part of the time each of `LABELS` takes.
    """
    steps_per_second, turns_per_second = rng.normal(1.8, 0.15), rng.normal(1.1, 0.1)
    strength = rng.uniform(0.7, 1.3)
    seconds = np.arange(SAMPLES) / RATE
    rows = []
    for label in rng.choice(len(LABELS), windows, p=habits):
        phase = 2 * np.pi * rng.random()
        walk = np.sin(2 * np.pi * steps_per_second * seconds + phase)
        walk += 0.5 * np.sin(4 * np.pi * steps_per_second * seconds + 2 * phase)
        cycle = 0.6 * np.sin(2 * np.pi * turns_per_second * seconds + phase) + 0.3 * rng.standard_normal(SAMPLES)
        movement = (np.zeros(SAMPLES), walk, cycle)[label]
        rows.append([*(strength * movement + 0.2 * rng.standard_normal(SAMPLES)), label])
    return np.array(rows)


def write_people(folder: Path, clients: int = 6) -> None:
    """Write ``client-0.csv`` and so on, and ``test.csv`` with people that no client knows; always the same."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2017)
    for number in range(clients):
        habits = tuple(rng.dirichlet(np.full(len(LABELS), 0.5)))
        table = person(rng, int(rng.integers(100, 400)), habits)
        np.savetxt(folder / f"client-{number}.csv", table, fmt="%.4f", delimiter=",")
    others = [person(rng, 60, (1 / 3, 1 / 3, 1 / 3)) for _ in range(10)]
    np.savetxt(folder / "test.csv", np.concatenate(others), fmt="%.4f", delimiter=",")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: .venv/bin/python examples/bring_your_own.py DIR")
    write_people(Path(sys.argv[1]))
