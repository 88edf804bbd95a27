"""The networks of the built-in tasks against the layers that their papers name, one after the other."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import Conv1d, Conv2d, Flatten, Linear, MaxPool1d, MaxPool2d, Module, ReLU, Sequential, Unflatten

from client.datasets.catalogue import DATASETS
from client.datasets.shards import Shard, write_shard
from client.task import BUILT_IN
from client.tasks.torch_task import TorchTask

EXAMPLES = 4


def layers() -> dict[str, list[Module]]:
    return {
        "mnist_2nn": [Flatten(), Linear(784, 200), ReLU(), Linear(200, 200), ReLU(), Linear(200, 10)],
        "mnist_cnn": [
            *(Conv2d(1, 20, 5), ReLU(), MaxPool2d(2), Conv2d(20, 50, 5), ReLU(), MaxPool2d(2)),
            *(Flatten(), Linear(800, 500), ReLU(), Linear(500, 10)),
        ],
        "mnist_cnn_large": [
            *(Conv2d(1, 32, 5, padding="same"), ReLU(), MaxPool2d(2)),
            *(Conv2d(32, 64, 5, padding="same"), ReLU(), MaxPool2d(2)),
            *(Flatten(), Linear(3136, 512), ReLU(), Linear(512, 10)),
        ],
        "cifar_cnn": [
            *(Conv2d(3, 6, 5), ReLU(), MaxPool2d(2), Conv2d(6, 16, 5), ReLU(), MaxPool2d(2)),
            *(Flatten(), Linear(400, 120), ReLU(), Linear(120, 84), ReLU(), Linear(84, 10)),
        ],
        "tabular_cnn": [
            *(Unflatten(1, (1, 17)), Conv1d(1, 4, 3), ReLU(), MaxPool1d(3)),
            *(Flatten(), Linear(20, 8), ReLU(), Linear(8, 2)),
        ],
    }


def task_of(name: str, folder: Path) -> TorchTask:
    """Return the task with examples whose values lie between 0 and 255."""
    layout = DATASETS[BUILT_IN[name].dataset].layout
    values = np.random.default_rng(0).integers(0, 256, (EXAMPLES, *layout.shape))
    inputs = values.astype(np.uint8 if layout.dtype == "U8" else np.float32)
    write_shard(folder / "shard", Shard(inputs, np.zeros(EXAMPLES, np.uint8)))
    module, _, kind = BUILT_IN[name].where.partition(":")
    task = getattr(importlib.import_module(module), kind)(folder / "shard", device="cpu")
    assert isinstance(task, TorchTask)
    return task


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_network_computes_what_the_layers_of_its_paper_do(name: str, tmp_path: Path) -> None:
    network = task_of(name, tmp_path).build_model()
    shape = DATASETS[BUILT_IN[name].dataset].layout.shape
    inputs = torch.randn(
        EXAMPLES, *([1, *shape] if len(shape) == 2 else shape), generator=torch.Generator().manual_seed(1)
    )
    reference = Sequential(*layers()[name])

    weights = zip(reference.state_dict(), network.state_dict().values(), strict=True)
    reference.load_state_dict(dict(weights))

    torch.testing.assert_close(network(inputs), reference(inputs))


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        ("mnist_2nn", [0, 51, 255], [-0.4242, 0.2249, 2.8215]),
        ("mnist_cnn", [0, 51, 255], [-0.4242, 0.2249, 2.8215]),
        ("mnist_cnn_large", [0, 51, 255], [-0.4242, 0.2249, 2.8215]),
        ("cifar_cnn", [0, 51, 255], [-1, -0.6, 1]),
        ("tabular_cnn", [0, 1, -1, 1e6], [0, 0.6931, -0.6931, 13.8155]),
    ],
)
def test_inputs_are_brought_near_zero(name: str, values: list[float], wanted: list[float], tmp_path: Path) -> None:
    layout = DATASETS[BUILT_IN[name].dataset].layout
    given = torch.tensor(values, dtype=torch.uint8 if layout.dtype == "U8" else torch.float32)

    prepared = task_of(name, tmp_path).prepare(given)

    torch.testing.assert_close(prepared, torch.tensor(wanted, dtype=torch.float32), atol=1e-4, rtol=0)
