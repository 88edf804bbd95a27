from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fedtier.problems import StartupError
from fedtier_cli.evaluation import RoundScore
from fedtier_cli.goal import Goal
from tests.fedtier_cli.runs import (
    FEWEST,
    FOR_EVER,
    TASK,
    call,
    facts_of,
    running,
    sessions_alive,
    tiny_flags,
    write_points,
)

TENTHS = TASK.replace(":Line", ":Tenths")


def score(number: int, **metrics: float) -> RoundScore:
    return RoundScore(round=number, metrics=metrics, clients=1, examples=1, seconds=None, sha256="0" * 64)


def test_the_first_round_that_has_the_accuracy_or_more_reaches_the_target() -> None:
    goal = Goal(9, 0.97)
    scores = [score(0, accuracy=0.1), score(1, accuracy=0.96996), score(2, accuracy=0.97), score(3, accuracy=0.99)]
    assert goal.first_reached(scores) == scores[2]
    assert goal.first_reached(scores[:2]) is None
    assert goal.reached(scores[2]) == "round 2 reached the target: accuracy 97%, wanted 97%"


def test_an_accuracy_just_below_the_target_is_not_rounded_up_to_it() -> None:
    scores = [score(1, accuracy=0.96996), score(2, accuracy=0.5)]
    assert Goal(2, 0.97).missed(scores) == (
        "the target is not reached by round 2: the best is round 1, accuracy 96.996%, wanted 97%"
    )


def test_without_a_target_nothing_reaches_it() -> None:
    assert not Goal(2).is_reached_by(score(1, loss=0.0))


def test_a_target_for_a_task_without_an_accuracy_is_one_sentence() -> None:
    with pytest.raises(StartupError, match="the task reports loss; make evaluate return one, or leave --target out"):
        Goal(2, 0.5).is_reached_by(score(1, loss=0.0))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_points(tmp_path / "points")


def notes(output: str) -> str:
    return "\n".join(fact["detail"] for fact in facts_of(output, "note"))


def train(home: Path, data: Path, *more: str | int, rounds: int | None = None, task: str = TENTHS) -> Any:
    flags = [*tiny_flags(data, rounds=rounds, task=task), *FEWEST, "--run-dir", "run", "--json"]
    return call(home, "train", *flags, *more)


@pytest.mark.system
def test_a_run_misses_its_target_goes_on_and_ends_at_the_first_round_that_reaches_it(
    tmp_path: Path, data: Path
) -> None:
    first = train(tmp_path, data, "--target", "0.4", rounds=2)
    assert (first.returncode, first.stderr) == (3, "")
    assert "the target is not reached by round 2: the best is round 2, accuracy 20%, wanted 40%" in notes(first.stdout)
    assert [fact["round"] for fact in facts_of(first.stdout, "published")] == [1, 2]

    again = train(tmp_path, data, "--target", "0.4", rounds=2)
    assert again.returncode == 3, again.stderr
    assert "round 2 is reached already: round 2 is the newest published" in notes(again.stdout)
    assert "the target is not reached by round 2" in notes(again.stdout)

    second = train(tmp_path, data, "--target", "0.4")
    assert second.returncode == 0, second.stderr
    assert "round 4 reached the target: accuracy 40%, wanted 40%" in notes(second.stdout)
    # A round may still have been published while the run was being ended.
    published = [fact["round"] for fact in facts_of(second.stdout, "published")]
    assert published == list(range(3, published[-1] + 1))
    assert 4 <= published[-1] < 1000
    newest = len(facts_of(second.stdout, "score")) - 1
    assert [fact["round"] for fact in facts_of(second.stdout, "score")] == list(range(newest + 1))
    go_on = facts_of(second.stdout, "finished")[0]["go_on"]
    assert "--target" not in go_on
    assert go_on.endswith(f"--round {newest + 2}")

    third = train(tmp_path, data, "--target", "0.3", rounds=1)
    assert third.returncode == 0, third.stderr
    assert "round 3 reached the target already: accuracy 30%, wanted 30%" in notes(third.stdout)
    assert facts_of(third.stdout, "published") == facts_of(third.stdout, "tested") == []


@pytest.mark.system
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Regression", "--target is an accuracy, and the task reports loss"),
        ("Untested", "has no method evaluate; add one, or leave --target out"),
    ],
)
def test_a_target_that_no_test_can_tell_is_refused(tmp_path: Path, data: Path, name: str, sentence: str) -> None:
    ended = train(tmp_path, data, "--target", "0.5", task=TASK.replace(":Line", f":{name}"))
    assert ended.returncode == 1
    assert sentence in ended.stderr


@pytest.mark.system
def test_rounds_are_tested_as_they_appear_and_go_on_untested_when_the_tests_die(tmp_path: Path, data: Path) -> None:
    with running(tmp_path, "train", *tiny_flags(data, rounds=FOR_EVER, task=TENTHS), *FEWEST) as run:
        assert run.await_fact("tested", round=1)["metrics"] == pytest.approx({"accuracy": 0.1})

        os.kill(run.pids["evaluate"], signal.SIGKILL)
        note = run.await_fact("note")["detail"]
        assert note.startswith("the tests ended by SIGKILL, so the models are tested when the run ends; their log is ")
        number = run.await_fact("published")["round"]
        run.await_fact("published", round=number + 3)


@pytest.mark.system
def test_a_target_is_not_run_for_when_the_tests_that_would_tell_die(tmp_path: Path, data: Path) -> None:
    flags = tiny_flags(data, rounds=FOR_EVER)
    with running(tmp_path, "train", *flags, *FEWEST, "--target", "1") as run:
        run.await_fact("tested", round=0)
        os.kill(run.pids["evaluate"], signal.SIGKILL)
        error = run.error()
        assert run.process.returncode == 1
        assert error.startswith("Error: evaluate ended by SIGKILL, and only tests can tell when the target is reached")
        assert sessions_alive(list(run.pids.values())) == []
