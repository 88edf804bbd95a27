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
        ("{folder}:Name", "no file "),
        (".numpy_task:Name", "relative import"),
        ("{file}:text", "'text'"),
        ("{file}:OnlyFits", "initial_model"),
    ],
)
def test_a_task_that_cannot_be_had_is_one_clear_sentence(spec: str, says: str, file: Path, numbers: Path) -> None:
    folder = file.with_name("folder.py")
    folder.mkdir()
    with pytest.raises(StartupError) as caught:
        load_task(spec.format(file=file, folder=folder), numbers)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_built_in_task_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch, numbers: Path) -> None:
    for name in [name for name in sys.modules if name.startswith("client.tasks")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(StartupError, match="client extra"):
        load_task("mnist_cnn", numbers)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def later():\n    1 / 0\n\nlater()", "broken.py, line 2: ZeroDivisionError: division by zero"),
        ("open('none')", "broken.py, line 1: FileNotFoundError: [Errno 2] No such file or directory: 'none'"),
        ("raise ValueError('one\\ntwo')", "broken.py, line 1: ValueError: one two"),
        ("class Mine:\n    def fit(:", "SyntaxError: invalid syntax (broken.py, line 2)"),
        ("def Mine(data):\n    return {}[7]", "broken.py, line 2: KeyError: 7"),
    ],
)
def test_an_error_in_the_task_s_own_file_is_one_clear_sentence_that_names_the_line(
    tmp_path: Path, numbers: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text(code)

    for spec in ("broken.py:Mine", f"{tmp_path / 'broken.py'}:Mine"):
        with pytest.raises(StartupError) as caught:
            load_task(spec, numbers)
        assert str(caught.value).endswith(says)
        assert "\n" not in str(caught.value)
        # For whoever debugs it.
        assert caught.value.__cause__ is not None


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
