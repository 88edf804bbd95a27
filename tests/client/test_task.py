from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from client.task import Assessment, EvaluatingTask, load_task, require_evaluating
from fedtier.dtypes import Array
from fedtier.problems import StartupError
from tests.client.numpy_task import ColumnMean

COMPLETE = """
from dataclasses import dataclass
@dataclass
class Mine:
    data: object
    def initial_model(self, seed): return {}
    def fit(self, arrays, config): return arrays, 1, {}
    def evaluate(self, arrays): return {"loss": 0.0, "accuracy": 1.0}
class OnlyFits:
    def __init__(self, data): pass
    def fit(self, arrays, config): return arrays, 1, {}
text = "no class"
"""


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.txt"
    path.write_text("1\n3\n")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my task.py"
    path.write_text(COMPLETE)
    return path


def test_a_task_is_found_by_import_path_and_gets_its_data(numbers: Path) -> None:
    task = load_task("tests.client.numpy_task:ColumnMean", numbers)

    assert isinstance(task, ColumnMean)
    assert task.values.tolist() == [1, 3]


def test_a_task_is_found_in_a_file(file: Path, numbers: Path) -> None:
    task = load_task(f"{file}:Mine", numbers)

    assert isinstance(task, EvaluatingTask)
    assert require_evaluating(task) is task
    assert getattr(task, "data", None) == numbers


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mnist_cmm", "mnist_cnn"),
        ("", "package.module:Name"),
        ("package.module:", "package.module:Name"),
        ("no_such_package.module:Name", "No module named"),
        ("tests.client.numpy_task:Median", "'Median'"),
        ("missing.py:Name", "no file missing.py"),
        ("{file}:text", "'text'"),
        ("{file}:OnlyFits", "initial_model"),
    ],
)
def test_a_task_that_cannot_be_had_is_one_clear_sentence(spec: str, says: str, file: Path, numbers: Path) -> None:
    with pytest.raises(StartupError) as caught:
        load_task(spec.format(file=file), numbers)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_built_in_task_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch, numbers: Path) -> None:
    for name in [name for name in sys.modules if name.startswith("client.tasks")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(StartupError, match="client extra"):
        load_task("mnist_cnn", numbers)


def test_an_error_in_the_task_s_own_code_is_not_hidden(tmp_path: Path, numbers: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("1 / 0")

    with pytest.raises(ZeroDivisionError):
        load_task(f"{path}:Mine", numbers)


def test_data_that_a_task_cannot_take_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"cannot be made with the data .*missing: FileNotFoundError"):
        load_task("tests.client.numpy_task:ColumnMean", tmp_path / "missing")


class OnlyAssesses(ColumnMean):
    def assess(self, arrays: Mapping[str, Array]) -> Assessment:
        return Assessment({"loss": 0.0}, len(self.values))


def test_a_task_that_assesses_needs_no_evaluate(numbers: Path) -> None:
    task = OnlyAssesses(numbers)

    assert require_evaluating(task) is task


def test_a_task_that_cannot_evaluate_says_so(numbers: Path) -> None:
    with pytest.raises(StartupError, match="ColumnMean cannot evaluate"):
        require_evaluating(load_task("tests.client.numpy_task:ColumnMean", numbers))
