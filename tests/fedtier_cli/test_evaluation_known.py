"""Models are tested once: what S3 says of them is believed as long as task and data are the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from fedtier.bucket import connect
from fedtier.evaluations import Evaluation
from fedtier.problems import StartupError
from fedtier.store import RoundStore
from fedtier_cli.evaluation import Evaluator, RoundScore, evaluated_rounds
from fedtier_cli.evaluation_basis import basis_of
from tests.fedtier_cli.class_task import LABELS, calls_of
from tests.fedtier_cli.published_models import ROWS, TASK, TASK_FILE, Publisher, oldest_first, steps
from tests.fedtier_cli.tiny_task import Line

pytestmark = pytest.mark.system


@pytest.fixture
def store(s3_environment: Mapping[str, str], bucket: str, bucket_key: str, tmp_path: Path) -> RoundStore:
    """Rounds 0 to 2, each better than the one before."""
    publisher = Publisher(RoundStore(bucket, bucket_key), tmp_path)
    for model in (steps(9, 9), steps(1, 9), steps(1, 2)):
        publisher.publish(model)
    return publisher.store


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "test.csv"
    path.write_text(ROWS)
    return path


class Session:
    """One call of the program, as far as evaluating goes."""

    def __init__(self, task: str, data: Path, *, again: bool = False) -> None:
        self.notes: list[str] = []
        self.evaluator = Evaluator(task, data, again=again, note=self.notes.append)

    def scores(self, store: RoundStore) -> list[RoundScore]:
        return list(evaluated_rounds(store, oldest_first(store), self.evaluator))


def models_tested(data: Path) -> int:
    return len(calls_of(data).read_text().splitlines())


def test_a_second_call_tests_nothing_and_says_the_same(store: RoundStore, data: Path) -> None:
    first = Session(TASK, data).scores(store)
    second = Session(TASK, data).scores(store)
    assert models_tested(data) == 3
    assert [score.known for score in first] == [False] * 3
    assert [score.known for score in second] == [True] * 3
    assert [score.members() | {"known": None} for score in second] == [
        score.members() | {"known": None} for score in first
    ]


def test_accuracy_confusion_and_classes_are_the_tasks(store: RoundStore, data: Path) -> None:
    untrained, _, newest = Session(TASK, data).scores(store)
    assert untrained.metrics == {"accuracy": 1 / 3, "loss": 1 - 1 / 3}
    assert untrained.members()["confusion"] == [[2, 0, 0], [2, 0, 0], [2, 0, 0]]
    assert untrained.members()["class_accuracies"] == [1.0, 0.0, 0.0]
    assert untrained.members()["labels"] == list(LABELS)
    assert newest.members()["confusion"] == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]


def test_only_the_rounds_that_are_new_are_tested(store: RoundStore, data: Path) -> None:
    first = Session(TASK, data)
    for published in oldest_first(store)[:2]:
        first.evaluator.score(store, published)
    assert [score.known for score in Session(TASK, data).scores(store)] == [True, True, False]
    assert models_tested(data) == 3


def test_changed_data_are_tested_anew(store: RoundStore, data: Path) -> None:
    Session(TASK, data).scores(store)
    data.write_text(ROWS + "0.1,2\n")
    scores = Session(TASK, data).scores(store)
    assert [score.known for score in scores] == [False] * 3
    assert scores[2].metrics["accuracy"] == pytest.approx(6 / 7)


def test_a_changed_task_file_is_tested_anew(store: RoundStore, data: Path, tmp_path: Path) -> None:
    task = tmp_path / TASK_FILE.name
    shutil.copy(TASK_FILE, task)
    assert [score.known for score in Session(TASK, data).scores(store)] == [False] * 3
    assert [score.known for score in Session(f"{task}:Steps", data).scores(store)] == [True] * 3
    task.write_text(TASK_FILE.read_text() + "# another\n")
    assert [score.known for score in Session(f"{task}:Steps", data).scores(store)] == [False] * 3


def test_again_tests_what_is_known(store: RoundStore, data: Path) -> None:
    Session(TASK, data).scores(store)
    assert [score.known for score in Session(TASK, data, again=True).scores(store)] == [False] * 3
    assert models_tested(data) == 6


def test_a_corrupt_evaluation_is_a_notice_and_is_made_anew(store: RoundStore, data: Path, bucket: str) -> None:
    Session(TASK, data).scores(store)
    published = oldest_first(store)[1]
    key = store.keys.evaluation(1, published.manifest.model.sha256)
    connect().put_object(Bucket=bucket, Key=key, Body=b'{"round": 1')
    session = Session(TASK, data)
    assert [score.known for score in session.scores(store)] == [True, False, True]
    [notice] = session.notes
    assert f"{key} is no evaluation: " in notice
    assert notice.endswith("; round 1 is tested anew")
    assert [score.known for score in Session(TASK, data).scores(store)] == [True] * 3


def test_the_document_names_no_folder_of_this_machine(store: RoundStore, data: Path, bucket: str) -> None:
    Session(TASK, data).scores(store)
    published = oldest_first(store)[2]
    key = store.keys.evaluation(2, published.manifest.model.sha256)
    document = connect().get_object(Bucket=bucket, Key=key)["Body"].read()
    assert json.loads(document)["task"] == "class_task.Steps"
    assert b"/" not in document


class ReadOnlyStore(RoundStore):
    """What S3 is to credentials that may not write: with a key that the server does not take, only writes go wrong."""

    def __init__(self, bucket: str, bucket_key: str) -> None:
        super().__init__(bucket, bucket_key)
        stranger = connect(access_key=os.environ["AWS_ACCESS_KEY_ID"], secret_key="another")
        self._stranger = RoundStore(bucket, bucket_key, client=stranger)

    def put_evaluation(self, evaluation: Evaluation) -> None:
        self._stranger.put_evaluation(evaluation)


def test_what_cannot_be_written_is_shown_with_one_notice(
    store: RoundStore, data: Path, bucket: str, bucket_key: str
) -> None:
    session = Session(TASK, data)
    scores = session.scores(ReadOnlyStore(bucket, bucket_key))
    assert [score.metrics["accuracy"] for score in scores] == pytest.approx([1 / 3, 2 / 3, 1])
    [notice] = session.notes
    assert notice.startswith("the results are shown, but not kept in S3: S3 at ")
    assert "(HTTP 403)" in notice


def test_a_task_that_only_has_metrics_has_no_confusion(
    s3_environment: Mapping[str, str], bucket: str, bucket_key: str, tmp_path: Path, data: Path
) -> None:
    publisher = Publisher(RoundStore(bucket, bucket_key), tmp_path)
    publisher.publish(Line(data).initial_model(0))
    task = f"{TASK_FILE.with_name('tiny_task.py')}:Line"
    [score] = Session(task, data).scores(publisher.store)
    [known] = Session(task, data).scores(publisher.store)
    assert known.known
    assert score.confusion is known.confusion is None
    assert "labels" not in known.members()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("Crooked", r"the task's confusion is int64 \[3, 3\] with 2 labels"), ("Endless", "the task's metric 'loss'")],
)
def test_what_is_no_assessment_is_one_sentence(store: RoundStore, data: Path, name: str, reason: str) -> None:
    with pytest.raises(StartupError, match=f"^the model of round 0 cannot be tested: {reason}"):
        Session(f"{TASK_FILE}:{name}", data).scores(store)


class TestBasis:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "data"
        (folder / "images").mkdir(parents=True)
        (folder / "images" / "one").write_bytes(b"1")
        (folder / "labels").write_bytes(b"2")
        return folder

    def test_it_is_of_contents_and_not_of_places(self, folder: Path, tmp_path: Path) -> None:
        before = basis_of("digits", folder), basis_of("digits", folder / "labels")
        shutil.move(folder, tmp_path / "elsewhere")
        shutil.move(tmp_path / "elsewhere" / "labels", tmp_path / "other name")
        assert basis_of("digits", tmp_path / "other name") == before[1]
        shutil.copy(tmp_path / "other name", tmp_path / "elsewhere" / "labels")
        assert basis_of("digits", tmp_path / "elsewhere") == before[0]

    def test_every_change_makes_it_another(self, folder: Path) -> None:
        seen = {basis_of("digits", folder), basis_of("letters", folder), basis_of("digits", folder / "labels")}
        (folder / "labels").write_bytes(b"3")
        seen.add(basis_of("digits", folder))
        (folder / "labels").rename(folder / "names")
        seen.add(basis_of("digits", folder))
        (folder / "images" / "two").write_bytes(b"")
        seen.add(basis_of("digits", folder))
        assert len(seen) == 6

    @pytest.mark.parametrize(("task", "data"), [("digits", "nothing"), ("nothing.py:Net", "labels")])
    def test_what_is_not_there_is_one_sentence(self, folder: Path, task: str, data: str) -> None:
        with pytest.raises(StartupError, match=r"nothing.*; name"):
            basis_of(task, folder / data)
