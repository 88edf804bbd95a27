"""What every task that comes with the client does, on small data of the shape of its own."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from client.datasets.catalogue import DATASETS
from client.datasets.shards import Layout, Shard, write_shard
from client.task import BUILT_IN, Assessment, FitConfig, load_task
from client.tasks.torch_task import TorchTask
from fedtier.dtypes import Array
from fedtier.problems import StartupError
from fedtier.tensors import write_arrays

PARAMETERS = {
    "mnist_cnn": 431_080,
    "mnist_2nn": 199_210,
    "mnist_cnn_large": 1_663_370,
    "tabular_cnn": 202,
    "cifar_cnn": 62_006,
}
EXAMPLES = 60


@dataclass(frozen=True)
class Case:
    """A task on its data, and how the client trains it where nobody says otherwise."""

    name: str
    task: TorchTask
    config: FitConfig
    initial: Mapping[str, Array]


def easy_examples(layout: Layout) -> Shard:
    """Return examples that lie near one of a few points, one per class."""
    draw = np.random.default_rng(0)
    labels = np.arange(EXAMPLES, dtype=np.uint8) % layout.classes
    centres = draw.integers(0, 200, (layout.classes, *layout.shape))
    inputs = centres[labels] + draw.integers(0, 50, (EXAMPLES, *layout.shape))
    return Shard(inputs.astype(np.uint8 if layout.dtype == "U8" else np.float32), labels)


@pytest.fixture(scope="module", params=sorted(BUILT_IN))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    built_in = BUILT_IN[request.param]
    path = tmp_path_factory.mktemp(request.param) / "client-0.safetensors"
    write_shard(path, easy_examples(DATASETS[built_in.dataset].layout))
    task = cast("TorchTask", load_task(request.param, path))
    config = FitConfig(round=1, seed=3, **built_in.settings.model_dump() | {"batch_size": 10})
    return Case(request.param, task, config, task.initial_model(5))


def test_every_task_has_as_many_parameters_as_its_documentation_says(case: Case) -> None:
    assert sum(array.size for array in case.initial.values()) == PARAMETERS[case.name]
    assert {array.dtype for array in case.initial.values()} == {np.dtype(np.float32)}


def test_the_first_epochs_of_every_task_lower_the_loss(case: Case) -> None:
    before = case.task.evaluate(case.initial)["loss"]

    arrays, num_examples, metrics = case.task.fit(case.initial, replace(case.config, epochs=4))

    assert case.task.evaluate(arrays)["loss"] < before
    assert num_examples == EXAMPLES
    assert set(metrics) == {"loss", "accuracy"}


def test_every_task_learns_what_is_easy(case: Case) -> None:
    config = replace(case.config, epochs=15, optimizer="adam", lr=0.02 if case.name == "tabular_cnn" else 0.001)

    arrays, _, _ = case.task.fit(case.initial, config)

    assert case.task.evaluate(arrays)["accuracy"] > 0.9


def test_the_same_seed_gives_every_task_the_same_bytes(case: Case) -> None:
    first, second, other = (file_bytes(case.task.fit(case.initial, replace(case.config, seed=n))[0]) for n in (3, 3, 4))

    assert first == second != other
    assert file_bytes(case.task.initial_model(5)) == file_bytes(case.initial) != file_bytes(case.task.initial_model(6))


def test_every_task_says_which_classes_it_takes_for_which(case: Case) -> None:
    assessment: Assessment = case.task.assess(case.initial)

    assert assessment.confusion is not None
    assert assessment.labels == DATASETS[BUILT_IN[case.name].dataset].label_names
    assert assessment.confusion.shape == (len(assessment.labels),) * 2
    assert assessment.examples == assessment.confusion.sum() == EXAMPLES
    # The examples' classes take turns.
    assert set(assessment.confusion.sum(axis=1)) == {EXAMPLES // len(assessment.labels)}
    assert assessment.metrics["accuracy"] == np.trace(assessment.confusion) / EXAMPLES


def test_data_of_another_task_is_one_clear_sentence(tmp_path: Path) -> None:
    path = tmp_path / "client-0.safetensors"
    write_shard(path, easy_examples(DATASETS["tabular"].layout))

    with pytest.raises(StartupError, match=r"client-0.safetensors holds .*\[60, 17\]"):
        load_task("cifar_cnn", path)


def file_bytes(arrays: Mapping[str, Array]) -> bytes:
    file = io.BytesIO()
    write_arrays(file, arrays)
    return file.getvalue()
