from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from client.task import EvaluatingTask, FitConfig, load_task
from client.tasks import torch_task
from client.tasks.torch_task import Examples, TorchTask
from fedtier.dtypes import Array
from fedtier.problems import SchemaMismatch, StartupError

CONFIG = FitConfig(
    round=1,
    epochs=20,
    batch_size=8,
    lr=0.5,
    optimizer="sgd",
    momentum=0.5,
    weight_decay=0.0,
    prox_mu=0.0,
    seed=1,
)


def own_task(tmp_path: Path) -> Path:
    """Write the example of the module's docstring to a file, as a user would."""
    lines = (torch_task.__doc__ or "").split("::\n", 1)[1].splitlines()
    path = tmp_path / "own_task.py"
    path.write_text("\n".join(line.removeprefix("    ") for line in lines))
    return path


def test_the_ten_lines_of_the_documentation_are_a_task_that_learns(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(120, 4))
    data = tmp_path / "table.csv"
    np.savetxt(data, np.column_stack([inputs, inputs[:, :3].argmax(axis=1)]), delimiter=",")

    task = load_task(f"{own_task(tmp_path)}:MyTask", data)
    assert isinstance(task, EvaluatingTask)
    initial = task.initial_model(0)
    arrays, num_examples, _ = task.fit(initial, CONFIG)

    assert num_examples == 120
    assert task.evaluate(arrays)["accuracy"] > 0.85
    assert task.evaluate(arrays)["loss"] < task.evaluate(initial)["loss"]


class Line(TorchTask):
    """A regression in bfloat16 with dropout and running statistics: all that makes a fit hard to repeat."""

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Linear(1, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1)
        ).bfloat16()

    def load_examples(self, data: Path) -> Examples:
        values = torch.linspace(-1, 1, int(data.name)).unsqueeze(1).bfloat16()
        return Examples(values, 2 * values)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.mse_loss(outputs, targets)

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        return {}


class Regression(TorchTask):
    """Says what its loss is, and nothing of scores, as a user's first task does."""

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 1)

    def load_examples(self, data: Path) -> Examples:
        values = torch.linspace(0, 1, 16).unsqueeze(1)
        return Examples(values, values)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.mse_loss(outputs, targets)


class FlatRegression(Regression):
    def build_model(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Flatten(0))

    def load_examples(self, data: Path) -> Examples:
        inputs, targets = super().load_examples(data)
        return Examples(inputs, targets[:, 0])


class OneOutput(Regression):
    """Whole numbers as targets, and a single output."""

    def load_examples(self, data: Path) -> Examples:
        inputs, targets = super().load_examples(data)
        return Examples(inputs, targets[:, 0].round().long())

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(outputs[:, 0], targets.float())


class WithSpread(FlatRegression):
    """A mean and a spread for each target."""

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 2)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(outputs[:, 0], targets)


@pytest.mark.parametrize("regression", [Regression, FlatRegression, OneOutput, WithSpread])
def test_what_has_no_classes_has_no_accuracy(regression: type[Regression]) -> None:
    task = regression(Path())

    fitted = task.fit(task.initial_model(0), CONFIG)

    assert set(fitted.metrics) == set(task.evaluate(fitted.arrays)) == {"loss"}
    assert fitted.metrics["loss"] < 0.1


class Pixels(TorchTask):
    """A class for each of two pixels, the value of the pixel."""

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Conv1d(1, 2, kernel_size=1)

    def load_examples(self, data: Path) -> Examples:
        images = torch.tensor([[0, 1], [1, 1], [0, 0], [0, 1]])
        return Examples(images.unsqueeze(1).float(), images)


def test_accuracy_of_several_targets_per_example_is_the_part_that_is_hit() -> None:
    always_one = {"weight": np.zeros((2, 1, 1), np.float32), "bias": np.array([0, 1], np.float32)}

    assert Pixels(Path()).evaluate(always_one)["accuracy"] == 0.5


def test_a_model_with_dropout_and_running_statistics_trains_to_the_same_bits() -> None:
    task = Line(Path("32"), device="cpu")
    initial = task.initial_model(0)

    first, second = (task.fit(initial, CONFIG) for _ in range(2))

    assert list(first.arrays) == list(initial)
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name])
        assert (array.dtype, array.shape) == (initial[name].dtype, initial[name].shape)
    assert first.arrays["1.num_batches_tracked"] == 20 * 4
    assert set(first.metrics) == {"loss"}


class CountsThreads(Line):
    """Notes how many threads torch may use while a model is made."""

    def build_model(self) -> torch.nn.Module:
        self.seen = torch.get_num_threads()
        return super().build_model()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_is_the_task_s_whatever_the_process_has(threads: int) -> None:
    task = CountsThreads(Path("8"), threads=threads, device="cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        task.fit(task.initial_model(0), CONFIG)
        assert (task.seen, torch.get_num_threads()) == (threads, 3)
    finally:
        torch.set_num_threads(before)


def test_a_model_of_another_task_names_the_tensor_that_differs() -> None:
    task = Line(Path("8"))
    arrays = task.initial_model(0)

    with pytest.raises(SchemaMismatch, match=r"'0.bias' is absent in the model and \[4\] in the task"):
        task.fit({name: array for name, array in arrays.items() if name != "0.bias"}, CONFIG)
    with pytest.raises(SchemaMismatch, match=r"'0.bias' is \[5\] in the model and \[4\] in the task"):
        task.evaluate({**arrays, "0.bias": np.zeros(5, np.float32)})


def test_data_without_examples_is_one_clear_sentence() -> None:
    with pytest.raises(StartupError, match="0 inputs"):
        Line(Path("0"))


class Signs(TorchTask):
    """Tells numbers below 0 from those above, by classes that have names."""

    label_names = ("below", "above")
    classes = 2

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Linear(1, self.classes)

    def load_examples(self, data: Path) -> Examples:
        values = torch.linspace(-1, 2, 2500).unsqueeze(1)
        return Examples(values, (values[:, 0] > 0).long())


def test_classes_with_names_get_a_confusion_matrix_that_agrees_with_the_accuracy() -> None:
    task = Signs(Path())
    model = {"weight": np.array([[-1], [1]], np.float32), "bias": np.array([0.5, 0], np.float32)}

    metrics, examples, labels, confusion = task.assess(model)

    assert (examples, labels) == (2500, ("below", "above"))
    # -x + 0.5 > x is said to be below: the sixth from 0 to 0.25 of [-1, 2] is taken for it.
    said_below = int((np.linspace(-1, 2, 2500) < 0.25).sum())
    below = int((np.linspace(-1, 2, 2500) < 0).sum())
    np.testing.assert_array_equal(confusion, [[below, 0], [said_below - below, 2500 - said_below]])
    assert confusion is not None
    assert metrics["accuracy"] == np.trace(confusion) / examples
    assert task.evaluate(model) == metrics


def test_a_task_without_named_classes_is_assessed_without_confusion() -> None:
    task = Line(Path("32"))
    model = task.initial_model(0)

    assert task.assess(model) == (task.evaluate(model), 32, (), None)
    assert set(task.evaluate(model)) == {"loss"}


class OfItsOwn(Signs):
    """Measures something else besides."""

    def evaluate(self, arrays: Mapping[str, Array]) -> Mapping[str, float]:
        return {**super().evaluate(arrays), "bias": float(arrays["bias"].sum())}


def test_metrics_that_a_task_adds_by_its_own_evaluate_are_in_its_assessment() -> None:
    task = OfItsOwn(Path())
    model = task.initial_model(0)

    assessment = task.assess(model)

    assert assessment.metrics == task.evaluate(model)
    assert set(assessment.metrics) == {"loss", "accuracy", "bias"}
    assert assessment.confusion is not None


class TooManyOutputs(Signs):
    classes = 3


def test_names_that_do_not_fit_the_model_are_one_clear_sentence() -> None:
    task = TooManyOutputs(Path())

    with pytest.raises(StartupError, match=r"outputs of shape \[1000, 3\], but label_names has 2 classes"):
        task.assess(task.initial_model(0))
