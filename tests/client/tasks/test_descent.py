"""Steps of a fit against the same steps in NumPy, from the papers' formulas, in double precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from client.task import FitConfig
from client.tasks.torch_task import Examples, TorchTask
from fedtier.dtypes import Array
from fedtier.rounds import Optimizer

EXAMPLES = 6
CONFIG = FitConfig(
    round=1,
    epochs=3,
    batch_size=EXAMPLES,
    lr=0.1,
    optimizer="sgd",
    momentum=0.0,
    weight_decay=0.0,
    prox_mu=0.0,
    seed=1,
)
DRAW = np.random.default_rng(5)
INPUTS = DRAW.normal(size=(EXAMPLES, 3))
TARGETS = DRAW.normal(size=(EXAMPLES, 1))
START = DRAW.normal(size=(1, 3))


class Plane(TorchTask):
    """Least squares with three weights, one batch per epoch: a gradient that fits on a line."""

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Linear(3, 1, bias=False).double()

    def load_examples(self, data: Path) -> Examples:
        return Examples(torch.from_numpy(INPUTS), torch.from_numpy(TARGETS))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.mse_loss(outputs, targets)

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        return {}


@pytest.fixture(scope="module")
def task() -> Plane:
    return Plane(Path(), device="cpu")


def loss_of(weights: npt.NDArray[np.float64]) -> float:
    return float(np.mean((INPUTS @ weights.T - TARGETS) ** 2))


def by_hand(config: FitConfig) -> tuple[npt.NDArray[np.float64], float]:
    """Return the weights after a step per epoch, and the loss of the data before the last step."""
    weights, velocity, square = START.copy(), np.zeros_like(START), np.zeros_like(START)
    loss = 0.0
    for step in range(1, config.epochs + 1):
        loss = loss_of(weights)
        gradient = 2 / EXAMPLES * (INPUTS @ weights.T - TARGETS).T @ INPUTS
        gradient += config.weight_decay * weights + config.prox_mu * (weights - START)
        if config.optimizer == "sgd":
            velocity = config.momentum * velocity + gradient
            weights = weights - config.lr * velocity
        else:
            velocity = 0.9 * velocity + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            mean, variance = velocity / (1 - 0.9**step), square / (1 - 0.999**step)
            weights = weights - config.lr * mean / (np.sqrt(variance) + 1e-8)
    return weights, loss


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, momentum=0.9),
        replace(CONFIG, weight_decay=0.3),
        replace(CONFIG, prox_mu=0.7),
        replace(CONFIG, momentum=0.5, weight_decay=0.2, prox_mu=1.5),
        replace(CONFIG, optimizer="adam"),
        replace(CONFIG, optimizer="adam", weight_decay=0.3),
        replace(CONFIG, optimizer="adam", prox_mu=0.7),
        replace(CONFIG, optimizer="adam", weight_decay=0.3, prox_mu=0.7),
    ],
    ids=lambda c: f"{c.optimizer}-momentum-{c.momentum}-decay-{c.weight_decay}-mu-{c.prox_mu}",
)
def test_a_fit_takes_the_steps_of_the_formulas_and_reports_the_loss_of_the_data(task: Plane, config: FitConfig) -> None:
    weights, loss = by_hand(config)

    fitted = task.fit({"weight": START}, config)

    np.testing.assert_allclose(fitted.arrays["weight"], weights, rtol=1e-12, atol=1e-14)
    assert fitted.metrics["loss"] == pytest.approx(loss, rel=1e-12)


def test_momentum_is_of_sgd_alone(task: Plane) -> None:
    without, with_momentum = (
        task.fit({"weight": START}, replace(CONFIG, optimizer="adam", momentum=momentum)).arrays["weight"]
        for momentum in (0.0, 0.9)
    )

    np.testing.assert_array_equal(with_momentum, without)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_stronger_the_pull_the_nearer_a_fit_stays_to_the_round_s_model(task: Plane, optimizer: Optimizer) -> None:
    config = replace(CONFIG, epochs=30, lr=0.05, optimizer=optimizer)

    distances = [
        float(np.linalg.norm(task.fit({"weight": START}, replace(config, prox_mu=mu)).arrays["weight"] - START))
        for mu in (0.0, 0.1, 1.0, 10.0)
    ]

    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < distances[0] / 2


def test_a_fit_remembers_nothing_of_the_one_before(task: Plane) -> None:
    config = replace(CONFIG, momentum=0.9)
    first = task.fit({"weight": START}, config)
    task.fit({"weight": START + 1}, config)

    np.testing.assert_array_equal(task.fit({"weight": START}, config).arrays["weight"], first.arrays["weight"])


class Partly(torch.nn.Module):
    """One weight that is trained, one that is frozen, and one that the outputs do not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.trained = torch.nn.Linear(3, 1, bias=False)
        self.frozen = torch.nn.Linear(3, 1, bias=False).requires_grad_(False)
        self.idle = torch.nn.Linear(3, 1, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.trained(inputs) + self.frozen(inputs))


class PartlyTrained(Plane):
    def build_model(self) -> torch.nn.Module:
        return Partly().double()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_frozen_and_unused_weights_stay_where_they_are_under_any_pull(optimizer: Optimizer) -> None:
    task = PartlyTrained(Path(), device="cpu")
    initial: dict[str, Array] = task.initial_model(0)

    fitted = task.fit(initial, replace(CONFIG, optimizer=optimizer, weight_decay=0.3, prox_mu=0.7)).arrays

    np.testing.assert_array_equal(fitted["frozen.weight"], initial["frozen.weight"])
    np.testing.assert_array_equal(fitted["idle.weight"], initial["idle.weight"])
    assert (fitted["trained.weight"] != initial["trained.weight"]).all()
