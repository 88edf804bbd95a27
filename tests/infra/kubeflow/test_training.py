"""A federation of two clients, of which one is killed in mid-round and tried again, and what is shown of it."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedtier.rounds import RoundManifest
from fedtier.tensors import TensorFile
from infra.kubeflow.steps.data import Shards, prepare
from infra.kubeflow.steps.programs import ProgramFailed
from infra.kubeflow.steps.results import Place, Results, collect
from infra.kubeflow.steps.training import ClientFailed, train
from infra.kubeflow.steps.workspace import Workspace
from tests.fedtier_cli import runs
from tests.infra.kubeflow.calls import PATIENCE, await_in, training
from tests.infra.kubeflow.servers import serving
from tests.s3_servers import S3Server

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(1500),  # torch is started nine times, beside whatever else the machine has to do
]

TASK = "tabular_cnn"
CLIENTS = ("client-0", "client-1")
ROUNDS = 2
NOWHERE = "https://127.0.0.1:9"


@dataclass(frozen=True)
class Course:
    """What came of the federation."""

    workspace: Workspace
    place: Place
    shards: Shards
    manifests: list[RoundManifest]
    tries: dict[str, list[list[dict[str, Any]]]]
    results: Results
    model: Path


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Course:
    folder = tmp_path_factory.mktemp("course")
    workspace, key = prepared(folder), f"tests/{folder.name}/model.safetensors"
    shards = prepare(workspace, task=TASK, clients=len(CLIENTS), urls=[], seed=0)
    with serving(workspace, s3_server, key, task=TASK, clients=len(CLIENTS), rounds=ROUNDS) as servers:
        logs = {name: folder / f"{name}.log" for name in ("client-0", "client-1", "client-1 again")}
        with training(workspace.root, "client-1", servers.server, TASK, logs["client-1"]) as first:
            await_event(logs["client-1"], "counted")
            left = [child_of(first)]
            first.kill()
        await_end(left)
        with (
            training(workspace.root, "client-0", servers.server, TASK, logs["client-0"]) as one,
            training(workspace.root, "client-1", servers.server, TASK, logs["client-1 again"]) as other,
        ):
            assert [process.wait(PATIENCE) for process in (one, other)] == [0, 0], logs["client-0"].read_text()
        manifests = [servers.federation["master"].published(number) for number in range(1, ROUNDS + 1)]
        model = folder / "model"
        place = Place(s3_server.endpoint, s3_server.bucket, key)
        results = collect(workspace, place, task=TASK, model=model)
    events = {name: events_of(log) for name, log in logs.items()}
    tries = {"client-0": [events["client-0"]], "client-1": [events["client-1"], events["client-1 again"]]}
    return Course(workspace, place, shards, manifests, tries, results, model)


def prepared(folder: Path) -> Workspace:
    workspace = Workspace(folder / "workspace")
    workspace.root.mkdir()
    return workspace


def events_of(log: Path) -> list[dict[str, Any]]:
    """Return what a client logged, but for the line that is being written."""
    lines = log.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


def await_event(log: Path, event: str) -> None:
    await_in(log, lambda: any(fact["event"] == event for fact in events_of(log)))


def child_of(process: subprocess.Popen[bytes]) -> int:
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def await_end(pids: list[int]) -> None:
    for pid in pids:
        assert runs.await_end([pid]), f"{pid} outlives what started it"


def test_a_client_that_was_killed_does_not_train_again_for_a_round_in_which_it_counts(course: Course) -> None:
    first, again = course.tries["client-1"]

    assert [fact["round"] for fact in first if fact["event"] == "counted"] == [1]
    assert [fact["round"] for fact in again if fact["event"] == "training"] == [2]
    assert "finished" in {fact["event"] for fact in again}


def test_each_client_is_in_each_round_once(course: Course) -> None:
    assert [[one.client_id for one in manifest.contributors] for manifest in course.manifests] == [list(CLIENTS)] * 2


def test_the_models_are_those_of_a_run_on_one_machine(course: Course, tmp_path: Path) -> None:
    flags = ["--model", TASK, "--clients", str(len(CLIENTS)), "--round", str(ROUNDS), "--json"]
    local = runs.call(tmp_path, "train", *flags, OMP_NUM_THREADS="1")

    assert local.returncode == 0, local.stderr
    published = {fact["round"]: fact["sha256"] for fact in runs.facts_of(local.stdout, "score")}
    assert [manifest.model.sha256 for manifest in course.manifests] == [published[1], published[2]]


def test_the_last_model_is_written_and_named_by_its_digest(course: Course) -> None:
    last = course.manifests[-1]

    assert (course.results.round, course.results.sha256) == (ROUNDS, last.model.sha256)
    assert course.model.stat().st_size == last.model.bytes
    assert TensorFile(course.model).header.specs


def test_the_last_accuracies_are_told_in_words(course: Course) -> None:
    reported = {one.client_id: one.metrics["accuracy"] for one in course.manifests[-1].contributors}
    lines = course.results.last_accuracies.splitlines()

    assert lines[2:4] == [f"- {name}: {reported[name]:.2%} in its training, in round {ROUNDS}" for name in CLIENTS]
    assert lines[4] == f"- **the model of round {ROUNDS}: {course.results.metrics['accuracy']:.2%} on the test data**"


def test_the_table_has_a_row_per_round_and_a_column_per_client(course: Course) -> None:
    head, rule, *rows = course.results.accuracy_table.splitlines()[2:]
    columns = [cell.strip() for cell in head.strip("|").split("|")]

    assert columns[3:5] == list(CLIENTS)
    assert len({line.count("|") for line in (head, rule, *rows)}) == 1
    assert [int(row.split("|")[1]) for row in rows] == list(range(ROUNDS + 1))
    for manifest, row in zip(course.manifests, rows[1:], strict=True):
        shown = [f"{one.metrics['accuracy']:.2%}" for one in manifest.contributors]
        assert [cell.strip() for cell in row.strip("|").split("|")][3:5] == shown


def test_the_pages_need_nothing_from_elsewhere(course: Course) -> None:
    for page in (course.results.accuracy_plot, course.shards.page):
        assert 'src="data:image/' in page
        assert "http" not in page


def test_the_numbers_are_those_of_the_last_round(course: Course) -> None:
    assert course.results.metrics.keys() == {"accuracy", "loss", "rounds", "clients", "clients_in_last_round"}
    assert course.results.metrics["rounds"] == ROUNDS
    assert course.results.metrics["clients"] == course.results.metrics["clients_in_last_round"] == len(CLIENTS)


def test_a_client_that_is_told_to_stop_fails_its_task_and_says_that_it_can_go_on(
    tmp_path: Path, s3_server: S3Server, bucket_key: str
) -> None:
    workspace, log = prepared(tmp_path), tmp_path / "client.log"
    prepare(workspace, task=TASK, clients=2, urls=[], seed=0)
    with (
        serving(workspace, s3_server, bucket_key, task=TASK, clients=2, rounds=1) as servers,
        training(workspace.root, "client-0", servers.server, TASK, log) as client,
    ):
        await_event(log, "counted")
        client.send_signal(signal.SIGTERM)

        assert client.wait(PATIENCE) == 1
    assert "client-0 was told to stop before the federation was finished; the next try goes on" in log.read_text()


def test_a_client_that_cannot_go_on_says_why(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)

    with pytest.raises(
        ClientFailed, match=r"(?s)client-3 cannot go on: fedtier client ended with status 1.*ca.pem cannot be read"
    ):
        train(workspace, client_id="client-3", server=NOWHERE, place=Place(NOWHERE, "", ""), task=TASK, seed=0)


def test_a_try_that_begins_after_the_end_is_good_for_a_client_that_counts(
    course: Course, capfd: pytest.CaptureFixture[str]
) -> None:
    done = train(course.workspace, client_id="client-1", server=NOWHERE, place=course.place, task=TASK, seed=0)

    assert done == 0
    assert capfd.readouterr().out == f"the federation is finished, and client-1 is in round {ROUNDS}, its last\n"


def test_a_client_that_comes_after_the_end_and_does_not_count_says_so_at_once(course: Course) -> None:
    with pytest.raises(ClientFailed, match=f"client-2 comes too late: .* round {ROUNDS}, its last, has no update of"):
        train(course.workspace, client_id="client-2", server=NOWHERE, place=course.place, task=TASK, seed=0)


def test_results_of_a_run_without_a_single_round_say_that_there_are_none(
    course: Course, s3_server: S3Server, tmp_path: Path
) -> None:
    place = Place(s3_server.endpoint, s3_server.bucket, "tests/nothing/model.safetensors")

    with pytest.raises(ProgramFailed, match=r"(?s)fedtier evaluate ended with status 1.*nothing is published"):
        collect(course.workspace, place, task=TASK, model=tmp_path / "model")
    assert not (tmp_path / "model").exists()
