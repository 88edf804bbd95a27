"""``fedtier evaluate`` as a process, on rounds in a bucket."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from fedtier.store import RoundStore
from fedtier_cli.rundir import Federation, RunDirectory
from fedtier_cli.tiers import embedded_store
from tests.fedtier_cli.class_task import LABELS, calls_of
from tests.fedtier_cli.published_models import ROWS, TASK, TASK_FILE, Publisher, steps
from tests.fedtier_cli.runs import END_SECONDS, call, environment, facts_of, fedtier

pytestmark = pytest.mark.system


class Place:
    """A bucket key with rounds, test data, and a folder to be called in."""

    def __init__(self, publisher: Publisher, home: Path, aws: Mapping[str, str], bucket: str) -> None:
        self.publisher = publisher
        self.home = home
        self.aws = aws
        self.data = home / "test.csv"
        self.data.write_text(ROWS)
        self.flags = ["--bucket_name", bucket, "--bucket_key", publisher.store.keys.copy]
        self.flags += ["--task", TASK, "--data", str(self.data)]

    def evaluate(self, *more: str | int) -> subprocess.CompletedProcess[str]:
        return call(self.home, "evaluate", *self.flags, *more, **self.aws)

    def watching(self, *more: str | int) -> AbstractContextManager[subprocess.Popen[str]]:
        return started(self.home, *self.flags, "--watch", "--every", "0.1", *more, **self.aws)


@contextmanager
def started(home: Path, *flags: str | int, **aws: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        fedtier("evaluate", *flags),
        cwd=home,
        env=environment(home, **aws),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def place(s3_environment: Mapping[str, str], bucket: str, bucket_key: str, tmp_path: Path) -> Place:
    """Round 0 is published."""
    publisher = Publisher(RoundStore(bucket, bucket_key), tmp_path)
    publisher.publish(steps(9, 9))
    return Place(publisher, tmp_path, s3_environment, bucket)


def test_it_says_how_many_were_tested_and_how_many_known(place: Place) -> None:
    place.publisher.publish(steps(1, 9))
    assert "\n2 rounds tested\n" in place.evaluate().stdout
    place.publisher.publish(steps(1, 2))
    assert "\n1 round tested, 2 known already\n" in place.evaluate().stdout
    assert "\n0 rounds tested, 3 known already\n" in place.evaluate("--no-confusion").stdout
    assert "\n3 rounds tested\n" in place.evaluate("--again").stdout
    assert len(calls_of(place.data).read_text().splitlines()) == 6


def test_the_newest_round_is_shown_class_by_class_and_drawn(place: Place) -> None:
    place.publisher.publish(steps(1, 9))
    result = place.evaluate()
    assert result.returncode == 0, result.stderr
    assert "round 1, class by class" in result.stdout
    [line] = [line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["high"]]
    assert line == ["high", "2", "0.00%", "middle,", "2", "times"]
    assert result.stdout.endswith("written to evaluation.csv and confusion.png\n")
    pixels = matplotlib.image.imread(place.home / "confusion.png")
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 10
    rows = list(csv.DictReader((place.home / "evaluation.csv").open(newline="")))
    assert [float(row["accuracy"]) for row in rows] == pytest.approx([1 / 3, 2 / 3])


def test_json_has_labels_confusion_and_class_accuracies(place: Place) -> None:
    result = place.evaluate("--json", "--confusion", "c.svg")
    [score] = facts_of(result.stdout, "score")
    assert score["labels"] == list(LABELS)
    assert score["confusion"] == [[2, 0, 0], [2, 0, 0], [2, 0, 0]]
    assert score["class_accuracies"] == [1, 0, 0]
    assert score["metrics"]["accuracy"] == pytest.approx(1 / 3)
    [end] = facts_of(result.stdout, "evaluated")
    assert end == {"event": "evaluated", "tested": 1, "known": 0, "table": "evaluation.csv", "picture": "c.svg"}
    assert (place.home / "c.svg").read_text().startswith("<?xml")


def test_a_task_without_classes_is_drawn_nowhere(place: Place) -> None:
    place.publisher.publish({"line": np.ones(2, np.float32)})
    line = str(TASK_FILE.with_name("tiny_task.py"))
    result = place.evaluate("--task", f"{TASK_FILE}:Steps", "--maxlen", 0, "--no-confusion")
    assert result.returncode == 0, result.stderr
    assert not (place.home / "confusion.png").exists()
    other = Publisher(RoundStore(place.flags[1], place.flags[3].replace("model", "line")), place.home)
    other.publish({"line": np.ones(2, np.float32)})
    flags = ["--bucket_key", other.store.keys.copy, "--task", f"{line}:Line"]
    result = place.evaluate(*flags, "--confusion", "c.png")
    assert result.returncode == 0, result.stderr
    assert result.stderr == "c.png is not drawn: the task does not say which classes it takes for which\n"
    assert result.stdout.endswith("written to evaluation.csv\n")


def test_a_torch_task_is_told_class_by_class(place: Place) -> None:
    other = Publisher(RoundStore(place.flags[1], place.flags[3].replace("model", "torch")), place.home)
    # Scores of x: 0, x - 1, and 2 x - 3, so that the steps lie at 1 and 2.
    slopes, offsets = np.array([[0], [1], [2]], np.float32), np.array([0, -1, -3], np.float32)
    other.publish({"weight": slopes, "bias": offsets})
    task = f"{TASK_FILE.with_name('torch_class_task.py')}:TorchSteps"
    result = place.evaluate("--bucket_key", other.store.keys.copy, "--task", task, "--json")
    [score] = facts_of(result.stdout, "score")
    assert score["confusion"] == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    assert score["metrics"]["accuracy"] == 1


WITHOUT_MATPLOTLIB = """
import sys
sys.modules["matplotlib"] = None
from fedtier_cli.evaluate_command import evaluate
evaluate()
"""


@pytest.mark.parametrize(("flags", "status"), [([], 0), (["--confusion", "c.png"], 1), (["--no-confusion"], 0)])
def test_without_matplotlib_only_a_picture_that_was_asked_for_is_missed(
    place: Place, flags: list[str], status: int
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_MATPLOTLIB, *place.flags, *flags],
        cwd=place.home,
        env=environment(place.home, **place.aws),
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )
    assert result.returncode == status
    assert ("install the view extra" in result.stderr) == ("--no-confusion" not in flags)
    assert result.stdout.endswith("written to evaluation.csv\n") == (status == 0)


class TestWatch:
    def score(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        return self.next_fact(process, "score")

    def next_fact(self, process: subprocess.Popen[str], event: str) -> dict[str, Any]:
        assert process.stdout is not None
        for line in process.stdout:
            fact: dict[str, Any] = json.loads(line)
            if fact["event"] == event:
                return fact
        raise AssertionError(process.communicate())

    def test_each_round_is_a_fact_at_once_until_the_last(self, place: Place) -> None:
        with place.watching("--json", "--maxlen", 2) as process:
            for number, model in enumerate([steps(1, 9), steps(1, 2), steps(0, 0)]):
                score = self.score(process)
                assert (score["round"], score["metrics"]["accuracy"]) == (number, pytest.approx((number + 1) / 3))
                place.publisher.publish(model)
            output, errors = process.communicate(timeout=END_SECONDS)
        assert process.returncode == 0, errors
        assert [json.loads(line)["event"] for line in output.splitlines()] == ["evaluated"]
        assert len(list(csv.reader((place.home / "evaluation.csv").open(newline="")))) == 1 + 3

    def test_an_interrupt_ends_it_with_what_was_found(self, place: Place) -> None:
        with place.watching() as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "round 0  loss 0.6667  accuracy 33.33%\n"
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=END_SECONDS)
        assert process.returncode == 130
        assert errors == "the evaluation was ended by SIGINT\n"
        assert "1 round tested\n" in output
        assert (place.home / "evaluation.csv").exists()

    def test_a_runs_s3_is_found_again_at_its_next_address(self, tmp_path: Path) -> None:
        (tmp_path / "test.csv").write_text(ROWS)
        run = RunDirectory(tmp_path / "run")
        run.path.mkdir()
        data = str(tmp_path / "test.csv")
        federation = Federation(task=TASK, bucket="fedtier", bucket_key="jobs/steps.safetensors", test_data=data)
        with ExitStack() as processes:
            with embedded_store(run, federation) as s3:
                publisher = Publisher(s3.rounds, tmp_path)
                publisher.publish(steps(9, 9))
                flags = ("--run-dir", "run", "--watch", "--every", "0.1", "--maxlen", "1", "--json")
                watching = processes.enter_context(started(tmp_path, *flags))
                assert self.score(watching)["round"] == 0
            sentence = self.next_fact(watching, "note")["detail"]
            assert sentence.startswith(f"S3 at {s3.server.endpoint} cannot be reached")
            with embedded_store(run, federation) as s3:
                publisher.store = s3.rounds
                publisher.publish(steps(1, 2))
                assert self.score(watching)["metrics"]["accuracy"] == 1
                _, errors = watching.communicate(timeout=END_SECONDS)
            assert watching.returncode == 0, errors

    def test_it_starts_no_s3_of_its_own(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path / "run")
        run.path.mkdir()
        run.write_federation(Federation(task=TASK, bucket="fedtier", bucket_key="jobs/a.b", test_data="test.csv"))
        result = call(tmp_path, "evaluate", "--run-dir", "run", "--watch")
        assert result.returncode == 1
        assert result.stderr == "Error: the S3 of the run directory run does not run; start the run, then call again\n"
        assert not run.s3.exists()


@pytest.mark.parametrize(
    ("flags", "status", "sentence"),
    [
        (["--watch", "--every", "1e300"], 2, "1e+300 is not in the range 0.05<=x<=3600"),
        (["--csv", "nowhere/c.csv"], 1, "the folder nowhere for the table does not exist"),
        (["--confusion", "nowhere/c.png"], 1, "the folder nowhere for the picture does not exist"),
        (["--confusion", "c.jpg"], 1, "the picture c.jpg has the suffix '.jpg'; name it .png or .svg by --confusion"),
        (["--confusion", "c.png", "--no-confusion"], 2, "--confusion and --no-confusion contradict each other"),
        (["--every", "nan"], 2, "--every"),
        (["--watch", "--every", "0"], 2, "--every"),
        (["--data-dir", "."], 1, "--data is all the test data there are; leave --data-dir and --rows out"),
        (["--data", "nowhere.csv"], 1, "the test data nowhere.csv do not exist; name others with --data"),
        (["--task", f"{TASK_FILE}:Endless"], 1, "the model of round 0 cannot be tested: the task's metric 'loss'"),
    ],
)
def test_what_cannot_be_is_one_sentence(place: Place, flags: list[str], status: int, sentence: str) -> None:
    result = place.evaluate(*flags)
    assert result.returncode == status
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
