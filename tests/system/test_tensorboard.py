"""TensorBoard's file of a real master: complete and without doubles, however the master ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import requests

from fedtier.evaluations import Evaluation
from tests.builders import model_arrays, safetensors, trained, update_bytes
from tests.masters import store_of
from tests.s3_servers import S3Server
from tests.scalars import read_scalars, steps
from tests.system.federation import PATIENCE, Aggregator, Federation

pytestmark = pytest.mark.system

BODY = update_bytes(trained(1), 10, {"loss": 0.5, "accuracy": 0.25})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors(model_arrays()))
    return path


def send(master: Aggregator, number: int) -> None:
    """Have the only client of a round counted."""
    answer = requests.put(f"{master.url}/v1/rounds/{number}/updates/client-0", data=BODY, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text


def folder(master: Aggregator) -> Path:
    return master.state_dir / "tensorboard"


def test_a_master_that_is_killed_again_and_again_leaves_no_round_out_and_writes_none_twice(
    federation: Federation, model: Path
) -> None:
    master = federation.master(model, "--threshold", "1")
    for number in range(1, 9):
        send(master, number)
        if number % 2:
            master.wait_for_round(number + 1)
        master.kill()  # while it publishes, or while it writes what it published
        master.start()
        master.wait_for_round(number + 1)
    assert master.stop() == 0

    found = read_scalars(folder(master))
    rounds = list(range(1, 9))
    for tag in ("devices/client-0/loss", "devices/client-0/accuracy", "mean/loss", "clients/counted", "seconds/round"):
        assert [step for step, _ in found[tag]] == rounds, tag


def test_a_master_that_is_stopped_writes_what_it_just_published(federation: Federation, model: Path) -> None:
    master = federation.master(model, "--threshold", "1")
    send(master, 1)
    master.wait_for_round(2)
    assert master.stop() == 0

    assert steps(folder(master), "clients/counted") == [1]
    assert steps(folder(master), "seconds/publishing") == [1]


def test_a_lost_state_directory_costs_tensorboard_no_round(federation: Federation, model: Path) -> None:
    master = federation.master(model, "--threshold", "1")
    for number in (1, 2):
        send(master, number)
        master.wait_for_round(number + 1)
    master.kill()
    shutil.rmtree(master.state_dir)

    master.start()
    assert master.stop() == 0

    assert steps(folder(master), "devices/client-0/loss") == [1, 2]


def test_an_evaluation_in_s3_is_written_before_the_master_ends(
    federation: Federation, model: Path, s3_server: S3Server
) -> None:
    master = federation.master(model, "--threshold", "1")
    send(master, 1)
    sha256 = master.published(1).model.sha256
    metrics = {"loss": 0.25, "accuracy": 0.75}
    store = store_of(s3_server, federation.bucket_key)
    store.put_evaluation(Evaluation(round=1, model_sha256=sha256, task="t", basis="0" * 64, metrics=metrics))
    assert master.stop() == 0

    found = read_scalars(folder(master))
    assert (found["global/loss"], found["global/accuracy"]) == ([(1, 0.25)], [(1, 0.75)])


def test_the_folder_is_chosen_by_a_flag(federation: Federation, model: Path, tmp_path: Path) -> None:
    master = federation.master(model, "--threshold", "1", "--tensorboard-dir", "scores")
    send(master, 1)
    master.wait_for_round(2)
    assert master.stop() == 0

    assert steps(tmp_path / "scores", "clients/counted") == [1]
    assert not folder(master).exists()


def test_nothing_is_written_where_nobody_wants_it(federation: Federation, model: Path) -> None:
    master = federation.master(model, "--threshold", "1", "--no-tensorboard")
    send(master, 1)
    master.wait_for_round(2)
    assert master.stop() == 0

    assert not folder(master).exists()


def test_a_folder_that_cannot_be_written_stops_no_round(federation: Federation, model: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file is in the way")
    master = federation.master(model, "--threshold", "1", "--tensorboard-dir", "taken")
    for number in (1, 2):
        send(master, number)
        master.wait_for_round(number + 1)
    assert master.stop() == 0

    (warning,) = master.events("the TensorBoard file waits; training goes on")
    assert "taken" in warning["reason"]


def test_a_master_that_writes_for_tensorboard_does_not_load_torch(federation: Federation, model: Path) -> None:
    master = federation.master(model, "--threshold", "1")
    send(master, 1)
    master.wait_for_round(2)

    loaded = Path(f"/proc/{master.serving_pid}/maps").read_text()
    assert "libtorch" not in loaded
    assert "numpy" in loaded
