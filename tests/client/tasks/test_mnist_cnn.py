from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from client.datasets.shards import Shard, write_shard
from client.task import EvaluatingTask, FitConfig, load_task
from fedtier.dtypes import Array
from fedtier.tensors import write_arrays

CONFIG = FitConfig(
    round=1,
    epochs=2,
    batch_size=16,
    lr=0.05,
    optimizer="sgd",
    momentum=0.5,
    weight_decay=0.0,
    prox_mu=0.0,
    seed=11,
)


def file_bytes(arrays: Mapping[str, Array]) -> bytes:
    file = io.BytesIO()
    write_arrays(file, arrays)
    return file.getvalue()


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> EvaluatingTask:
    """Easy digits: a bright bar whose height is the label, in noise."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 10, 200, dtype=np.uint8)
    images = draw.integers(0, 60, (200, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 4 : 2 * label + 8] = 255
    path = tmp_path_factory.mktemp("shards") / "client-0.safetensors"
    write_shard(path, Shard(images, labels))
    task = load_task("mnist_cnn", path)
    assert isinstance(task, EvaluatingTask)
    return task


@pytest.fixture(scope="module")
def initial(task: EvaluatingTask) -> dict[str, Array]:
    return task.initial_model(seed=5)


def test_the_network_has_431080_parameters_in_eight_tensors(initial: dict[str, Array]) -> None:
    assert {name: array.shape for name, array in initial.items()} == {
        "conv1.weight": (20, 1, 5, 5),
        "conv1.bias": (20,),
        "conv2.weight": (50, 20, 5, 5),
        "conv2.bias": (50,),
        "fc1.weight": (500, 800),
        "fc1.bias": (500,),
        "fc2.weight": (10, 500),
        "fc2.bias": (10,),
    }
    assert sum(array.size for array in initial.values()) == 431_080
    assert {array.dtype for array in initial.values()} == {np.dtype(np.float32)}


def test_the_initial_model_depends_on_the_seed_alone(task: EvaluatingTask, initial: dict[str, Array]) -> None:
    torch.manual_seed(99)

    assert file_bytes(task.initial_model(5)) == file_bytes(initial)
    assert file_bytes(task.initial_model(6)) != file_bytes(initial)


def test_the_same_fit_gives_the_same_bytes_and_another_seed_others(
    task: EvaluatingTask, initial: dict[str, Array]
) -> None:
    before = file_bytes(initial)
    first = file_bytes(task.fit(initial, CONFIG)[0])
    torch.manual_seed(99)
    torch.rand(7)

    assert file_bytes(task.fit(initial, CONFIG)[0]) == first
    assert file_bytes(task.fit(initial, replace(CONFIG, seed=12))[0]) != first
    assert file_bytes(initial) == before, "a fit must not change what it was given"


def test_a_fit_leaves_torch_as_it_was(task: EvaluatingTask, initial: dict[str, Array]) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()

    task.fit(initial, CONFIG)

    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (threads, deterministic)


def test_training_lowers_the_loss_and_raises_the_accuracy(task: EvaluatingTask, initial: dict[str, Array]) -> None:
    before = task.evaluate(initial)

    arrays, num_examples, metrics = task.fit(initial, replace(CONFIG, epochs=5))

    after = task.evaluate(arrays)
    assert num_examples == 200
    assert after["loss"] < before["loss"] / 2
    assert after["accuracy"] > 0.9 > before["accuracy"]
    assert set(metrics) == {"loss", "accuracy"}
    assert metrics["loss"] < before["loss"]
