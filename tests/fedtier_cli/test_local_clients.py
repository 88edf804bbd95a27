from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from client.datasets.partition import Partition
from client.task import BUILT_IN
from fedtier.rounds import ClientSettings
from fedtier_cli.display import LineDisplay
from fedtier_cli.local import LocalOptions, prepared
from fedtier_cli.local_clients import dealt, process_count
from fedtier_cli.local_flags import client_settings
from fedtier_cli.tiers import TierSettings
from fedtier_cli.training_run import Surroundings
from tests.fedtier_cli.runs import train_tiny, write_points

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
        update={"epochs": 5, "momentum": 0.0, "optimizer": "sgd", "lr": ClientSettings().lr}
    )


def test_another_optimizer_than_the_task_s_own_has_a_learning_rate_that_suits_it() -> None:
    assert client_settings("mnist_cnn", {**NOT_GIVEN, "optimizer": "adam"}).lr == 0.001
    assert client_settings("mnist_cnn", {**NOT_GIVEN, "optimizer": "adam", "lr": 0.05}).lr == 0.05


@pytest.mark.system
def test_a_hundred_clients_of_which_a_tenth_is_drawn_make_the_same_models_in_any_processes(tmp_path: Path) -> None:
    data = write_points(tmp_path / "points", clients=100)
    flags = ["--clients", "100", "--fraction", "0.1", "--lr-decay", "0.5"]
    two = train_tiny(tmp_path, data, *flags, "--processes", 2, "--workers", 1, "--run-dir", "two", rounds=3)
    three = train_tiny(tmp_path, data, *flags, "--processes", 3, "--run-dir", "three", rounds=3)
    assert [fact["clients"] for fact in two] == [10, 10, 10]
    assert [fact["sha256"] for fact in two] == [fact["sha256"] for fact in three]

    states = tmp_path / "two" / "state"
    assert len(list(states.glob("client-*"))) == 100
    fetched = {path.parent.name for path in states.glob("client-*/model-*")}
    # Three draws of ten, not all the same; who was not drawn has fetched nothing.
    assert 10 < len(fetched) <= 30
    logs = sorted(path.name for path in (tmp_path / "two" / "logs").glob("client*"))
    assert logs == ["clients-0.log", "clients-1.log"]


@pytest.mark.system
def test_a_run_that_goes_on_with_another_partition_says_that_the_data_are_split_anew(tmp_path: Path) -> None:
    def said(kind: str) -> str:
        output = io.StringIO()
        tiers = TierSettings(task="tabular_cnn", workers=1, threshold=2, last_round=1)
        options = LocalOptions(
            tiers=tiers,
            clients=2,
            processes=1,
            seed=0,
            partition=Partition(kind),
            data_dir=None,
            rows=(),
            run_dir=tmp_path / "run",
        )
        with prepared(options, Surroundings(tmp_path, dict(os.environ)), LineDisplay(Console(file=output))):
            return output.getvalue()

    assert ["are split anew" in said(kind) for kind in ("iid", "quantity", "quantity")] == [False, True, False]
