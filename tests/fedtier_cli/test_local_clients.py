from __future__ import annotations

import re
from pathlib import Path

import pytest

from client.task import BUILT_IN
from fedtier.rounds import ClientSettings
from fedtier.upstream import Upstream
from fedtier_cli.local_clients import dealt, process_count
from fedtier_cli.local_flags import client_settings
from tests.fedtier_cli.runs import TASK, call, running, tiny_flags, train_tiny, write_points

CLIENTS = 6
NOT_GIVEN = dict.fromkeys(["epoch", "batch_size", "lr", "optimizer", "momentum", "weight_decay", "prox_mu"])


@pytest.mark.parametrize(
    ("clients", "wanted", "cores", "count"),
    [
        (16, None, 2, 16),
        (17, None, 2, 2),
        (100, None, 8, 8),
        (100, None, 1, 2),
        (100, 3, 8, 3),
        (2, 5, 8, 2),
    ],
)
def test_few_clients_have_a_process_each_and_many_share_as_many_as_there_are_cores(
    clients: int, wanted: int | None, cores: int, count: int
) -> None:
    assert process_count(clients, wanted, cores) == count


def test_every_client_is_played_by_one_process() -> None:
    parts = dealt(100, 7)
    assert sorted(number for part in parts for number in part) == list(range(100))
    assert {len(part) for part in parts} == {14, 15}


def test_clients_train_as_is_usual_for_the_task_where_nothing_else_is_said() -> None:
    assert client_settings("tabular_cnn", NOT_GIVEN) == BUILT_IN["tabular_cnn"].settings
    assert client_settings("own.py:Task", NOT_GIVEN) == ClientSettings()
    given = client_settings("tabular_cnn", {**NOT_GIVEN, "epoch": 5, "momentum": 0.0, "optimizer": "sgd"})
    assert given == BUILT_IN["tabular_cnn"].settings.model_copy(
        update={"epochs": 5, "momentum": 0.0, "optimizer": "sgd"}
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_points(tmp_path / "points", clients=CLIENTS)


@pytest.mark.system
def test_the_model_does_not_depend_on_how_many_processes_play_the_clients(tmp_path: Path, data: Path) -> None:
    flags = ["--clients", str(CLIENTS), "--fraction", "0.5", "--lr-decay", "0.5"]
    shared = train_tiny(tmp_path, data, *flags, "--processes", 2, "--run-dir", "shared", rounds=3)
    apart = train_tiny(tmp_path, data, *flags, "--run-dir", "apart", rounds=3)
    assert [fact["sha256"] for fact in shared] == [fact["sha256"] for fact in apart]
    assert [fact["clients"] for fact in shared] == [3, 3, 3]
    assert sorted(path.name for path in (tmp_path / "shared" / "logs").glob("client*")) == [
        "clients-0.log",
        "clients-1.log",
    ]
    assert len(list((tmp_path / "shared" / "state").glob("client-*"))) == CLIENTS


@pytest.mark.system
def test_a_client_that_fails_ends_the_run_also_when_its_process_goes_on(tmp_path: Path, data: Path) -> None:
    (data / "client-1.csv").write_text("1,nan\n")
    result = call(tmp_path, "train", *tiny_flags(data, rounds=1, clients=CLIENTS), "--processes", 2)
    assert result.returncode == 1
    assert re.match(r"Error: clients-1 plays client-1, which stopped: .*'line'.*; its log ", result.stderr)


@pytest.mark.system
def test_the_master_is_told_how_clients_train_and_who_is_drawn(tmp_path: Path, data: Path) -> None:
    told = ClientSettings(
        epochs=2, batch_size=7, lr=0.02, optimizer="adam", momentum=0.1, weight_decay=0.001, prox_mu=0.01
    )
    training: list[str | int | float] = [
        "--epoch",
        2,
        "--batch-size",
        7,
        "--lr",
        0.02,
        "--optimizer",
        "adam",
        "--momentum",
        0.1,
    ]
    training += ["--weight-decay", 0.001, "--prox-mu", 0.01]
    flags = ["--task", TASK, "--clients", str(CLIENTS), "--fraction", "0.5", "--data-dir", str(data), "--port", "0"]
    with running(tmp_path, "up", *flags, *map(str, training)) as servers:
        master = servers.await_fact("serving")["master"]
        with Upstream(master) as upstream:
            status = upstream.round_status()
    assert status.client == told
    assert status.cohort is not None
    assert (len(status.cohort), status.threshold) == (CLIENTS // 2, CLIENTS // 2)
    assert set(status.cohort) < {f"client-{number}" for number in range(CLIENTS)}


@pytest.mark.system
def test_a_run_that_goes_on_with_another_partition_says_that_the_data_are_split_anew(tmp_path: Path) -> None:
    flags = ["--model", "tabular_cnn", "--clients", "2", "--processes", "1", "--run-dir", "run"]
    first = call(tmp_path, "train", *flags, "--round", 1)
    other = call(tmp_path, "train", *flags, "--round", 1, "--partition", "quantity")
    same = call(tmp_path, "train", *flags, "--round", 1, "--partition", "quantity")
    assert [run.returncode for run in (first, other, same)] == [0, 0, 0], first.stderr + other.stderr + same.stderr
    assert ["are split anew" in run.stdout for run in (first, other, same)] == [False, True, False]
