"""The example in one file, called as its first lines say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.task import AssessingTask, FitConfig, FitResult, load_task
from tests.fedtier_cli.runs import call, environment, facts_of

FILE = Path(__file__).parents[2] / "examples" / "bring_your_own.py"
CLIENTS = 6
SMALL = FitConfig(
    round=1, epochs=2, batch_size=16, lr=0.05, optimizer="sgd", momentum=0.5, weight_decay=0, prox_mu=0, seed=7
)


def make(folder: Path) -> Path:
    subprocess.run([sys.executable, FILE, folder], check=True, env=environment(folder), cwd=FILE.parents[1])
    return folder


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("activities"))


def task_of(data: Path) -> AssessingTask:
    task = load_task(f"{FILE}:Activities", data)
    assert isinstance(task, AssessingTask)
    return task


def test_the_same_people_are_made_each_time(people: Path, tmp_path: Path) -> None:
    names = [*(f"client-{number}.csv" for number in range(CLIENTS)), "test.csv"]
    assert sorted(path.name for path in make(tmp_path).iterdir()) == sorted(names)
    assert all((tmp_path / name).read_bytes() == (people / name).read_bytes() for name in names)


def test_a_fit_lowers_the_loss_and_is_the_same_each_time(people: Path) -> None:
    task = task_of(people / "client-0.csv")
    initial = task.initial_model(0)
    fitted, again = FitResult(*task.fit(initial, SMALL)), FitResult(*task.fit(initial, SMALL))
    assert fitted.metrics["loss"] < task.assess(initial).metrics["loss"]
    assert all(np.array_equal(fitted.arrays[name], again.arrays[name]) for name in initial)
    for name, array in fitted.arrays.items():
        assert array.dtype == np.float32
        assert array.shape == initial[name].shape


def test_fedprox_keeps_a_fit_near_to_the_model_it_starts_from(people: Path) -> None:
    task = task_of(people / "client-0.csv")
    initial = task.initial_model(0)
    near, far = (FitResult(*task.fit(initial, replace(SMALL, prox_mu=mu))).arrays["weight"] for mu in (10, 0))
    assert np.linalg.norm(near - initial["weight"]) < np.linalg.norm(far - initial["weight"])


def test_every_test_window_is_counted_once_in_the_confusion(people: Path) -> None:
    task = task_of(people / "test.csv")
    assessment = task.assess(task.initial_model(3))
    assert assessment.confusion is not None
    assert assessment.confusion.sum() == assessment.examples == 600
    assert assessment.metrics["accuracy"] == pytest.approx(np.trace(assessment.confusion) / 600)


@pytest.mark.system
def test_a_federation_learns_it(people: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    task = ["--model", f"{FILE}:Activities", "--data-dir", str(people), "--clients", str(CLIENTS)]
    trained = call(tmp_path, "train", *task, "--round", 6, "--epoch", 3, "--lr", "0.1", "--run-dir", run, "--json")
    assert trained.returncode == 0, trained.stderr
    assert [fact["round"] for fact in facts_of(trained.stdout, "published")] == [1, 2, 3, 4, 5, 6]
    evaluated = call(tmp_path, "evaluate", "--run-dir", run, "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    accuracies = [fact["metrics"]["accuracy"] for fact in facts_of(evaluated.stdout, "score")]
    assert accuracies[0] < 0.5
    assert accuracies[-1] > 0.9
