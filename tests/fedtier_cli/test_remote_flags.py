from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fedtier.problems import StartupError
from fedtier.rounds import ClientSettings
from fedtier_cli.local_commands import train
from fedtier_cli.main import main
from fedtier_cli.remote_flags import chosen_address, remote_options
from fedtier_cli.remote_training import training_variables
from tests.fedtier_cli.sites import site

HOSTS = Path("hosts.yml")


def flags_of(*words: str) -> dict[str, Any]:
    """Return the flags of a call as the command gets them."""
    params = train.make_context("train", ["--inventory", "hosts.yml", *words]).params
    return {name: value for name, value in params.items() if name not in {"last_round", "target", "processes"}}


def call(*words: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, ["train", *words])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--workers", "3"], "--workers belongs to a run on this machine: the inventory says how many workers there"),
        (["--clients", "3"], "--clients belongs to a run on this machine: the inventory says which clients there are"),
        (["--processes", "1"], "--processes belongs to a run on this machine: each client is a process of its own"),
    ],
)
def test_what_the_inventory_says_cannot_be_said_by_a_flag(tmp_path: Path, flags: list[str], sentence: str) -> None:
    result = call("--inventory", str(tmp_path / "hosts.yml"), *flags)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())


def test_a_variable_that_the_inventory_contradicts_is_refused_too(tmp_path: Path) -> None:
    result = call("--inventory", str(tmp_path / "hosts.yml"), FEDTIER_WORKERS="3")
    assert result.exit_code == 2
    assert "--workers belongs to a run on this machine" in result.stderr


@pytest.mark.parametrize(("flag", "value"), [("--server", "https://lab:8443"), ("--key-path", __file__)])
def test_other_machines_are_those_of_an_inventory(flag: str, value: str) -> None:
    result = call(flag, value)
    assert result.exit_code == 2
    assert f"{flag} belongs to a federation on other machines; name its --inventory too" in result.stderr


def test_a_server_that_is_set_for_other_commands_does_not_keep_a_run_on_this_machine_from_starting(
    tmp_path: Path,
) -> None:
    result = call("--model", "nothing", FEDTIER_SERVER="https://lab:8443", FEDTIER_HOME=str(tmp_path))
    assert "the task nothing needs its data" in result.stderr


def test_an_inventory_or_a_key_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    missing = str(tmp_path / "hosts.yml")
    result = call("--inventory", missing)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert f"there is no inventory {missing}" in result.stderr
    (tmp_path / "hosts.yml").touch()
    result = call("--inventory", missing, "--key-path", str(tmp_path / "key"))
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_a_run_on_a_site_is_as_large_as_the_inventory_says(tmp_path: Path) -> None:
    options = remote_options(flags_of("--epoch", "2", "--seed", "7"), site(tmp_path), HOSTS, last_round=4)
    assert (options.clients, options.tiers.workers, options.tiers.threshold) == (3, 1, 3)
    assert (options.task, options.seed, options.tiers.last_round) == ("mnist_cnn", 7, 4)
    assert options.tiers.client == ClientSettings(epochs=2)


def test_a_threshold_of_the_site_counts_unless_another_is_given(tmp_path: Path) -> None:
    small = site(tmp_path, threshold=2)
    assert remote_options(flags_of(), small, HOSTS, last_round=4).tiers.threshold == 2
    assert remote_options(flags_of("--threshold", "1"), small, HOSTS, last_round=4).tiers.threshold == 1
    assert remote_options(flags_of("--fraction", "1"), small, HOSTS, last_round=4).tiers.threshold == 3


def test_the_site_s_task_is_trained_unless_another_is_given(tmp_path: Path) -> None:
    other = site(tmp_path, task="mnist_2nn")
    assert remote_options(flags_of(), other, HOSTS, last_round=4).task == "mnist_2nn"
    assert remote_options(flags_of("--model", "mnist_cnn"), other, HOSTS, last_round=4).task == "mnist_cnn"


@pytest.mark.parametrize(
    ("words", "clients", "sentence"),
    [
        (["--model", "own.py:Task"], (), "the task own.py:Task is not on the hosts, which have mnist_cnn, "),
        (
            ["--fraction", "0.5"],
            ("north", "south"),
            "--fraction draws from client-0 to client-1, and",
        ),
        (["--partition", "iid", "--alpha", "1"], (), "--alpha belongs to the partitions dirichlet and quantity"),
    ],
)
def test_what_cannot_be_on_a_site_is_one_sentence(
    tmp_path: Path, words: list[str], clients: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(StartupError, match=sentence):
        remote_options(flags_of(*words), site(tmp_path, *clients), HOSTS, last_round=1)


def test_a_site_without_clients_cannot_train(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"the inventory hosts\.yml has no clients; add"):
        remote_options(flags_of(), site(tmp_path, hosts={}), HOSTS, last_round=1)


def test_the_server_is_the_site_s_or_an_address_over_tls(tmp_path: Path) -> None:
    assert chosen_address(None, site(tmp_path)) == "https://192.0.2.10:8443"
    assert chosen_address("https://front.example.org", site(tmp_path)) == "https://front.example.org"
    with pytest.raises(StartupError, match="is plain HTTP to another machine"):
        chosen_address("http://front.example.org", site(tmp_path))


def test_master_and_clients_are_told_by_variables_what_a_local_run_tells_them_by_flags(tmp_path: Path) -> None:
    words = ["--epoch", "2", "--lr", "0.1", "--fraction", "0.5", "--seed", "3"]
    told = training_variables(remote_options(flags_of(*words), site(tmp_path), HOSTS, last_round=4))
    assert told["client_training"] == {"FEDTIER_ROUNDS": "4", "FEDTIER_SEED": "3", "FEDTIER_TASK": "mnist_cnn"}
    assert told["training"] == {
        "FEDTIER_THRESHOLD": "2",
        "FEDTIER_ROUNDS": "4",
        "FEDTIER_CLIENTS": "3",
        "FEDTIER_FRACTION": "0.5",
        "FEDTIER_SEED": "3",
        "FEDTIER_EPOCH": "2",
        "FEDTIER_BATCH_SIZE": "32",
        "FEDTIER_LR": "0.1",
        "FEDTIER_OPTIMIZER": "sgd",
        "FEDTIER_MOMENTUM": "0.5",
        "FEDTIER_WEIGHT_DECAY": "0.0",
        "FEDTIER_PROX_MU": "0.0",
        "FEDTIER_LR_DECAY": "1.0",
    }
