"""`compose.yaml` as it stands: both tools read it, and what it promises of every container is there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import click
import pytest

from fedtier.flags import ENVIRONMENT_PREFIX
from fedtier_cli.main import main
from tests.infra.compose.reading import as_podman_compose_reads, is_folder, source
from tests.infra.linters import linter
from tests.infra.programs import CHECKOUT

_SHARDS: Final = {"shard-0", "shard-1", "shard-2"}
_ONE_SHOTS: Final = {"credentials", "initial-model", *_SHARDS}
_OPERATORS: Final = ("status", "rounds", "show", "clients", "verify", "pause", "resume", "close")
_READ_WITHOUT_A_FLAG: Final = {"FEDTIER_TOKEN_FILE", "FEDTIER_VERIFY_KEYS", "FEDTIER_MNIST_MIRRORS"}
_AS_DOCKER_READS: Final = """
import sys
from compose_spec import PyCompose
PyCompose.from_json(sys.stdin.read()).validate()
"""


@pytest.fixture(scope="module")
def read() -> dict[str, Any]:
    return as_podman_compose_reads()


def services(read: dict[str, Any], image: str = "") -> dict[str, dict[str, Any]]:
    """Return services by name, of one image or all."""
    return {name: service for name, service in read["services"].items() if image in service["image"]}


def test_it_is_what_the_compose_specification_says(read: dict[str, Any]) -> None:
    python = str(Path(linter("podman-compose")).with_name("python"))
    if subprocess.run([python, "-c", "import compose_spec"], capture_output=True, check=False).returncode:
        pytest.skip("compose-spec is not installed")

    def refused(document: dict[str, Any]) -> str:
        words = [python, "-c", _AS_DOCKER_READS]
        return subprocess.run(words, input=json.dumps(document), text=True, capture_output=True, check=False).stderr

    assert refused(read) == ""
    assert "mem_limits" in refused(read | {"services": {"nginx": {"image": "nginx", "mem_limits": "1g"}}})


def test_every_container_is_confined(read: dict[str, Any]) -> None:
    for name, service in read["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert "privileged" not in service, name
        if name != "credentials":
            assert service["user"] == "10001:10001", name
            assert "cap_add" not in service, name


def test_who_is_root_sees_no_network(read: dict[str, Any]) -> None:
    root = read["services"]["credentials"]

    assert root["network_mode"] == "none"
    assert root["cap_add"] == ["CHOWN", "DAC_READ_SEARCH"]


def test_ports_are_for_this_machine_alone(read: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in read["services"].items() if "ports" in service}

    assert ports == {"nginx": ["127.0.0.1:8443:8443"], "tensorboard": ["127.0.0.1:6006:6006"]}


def test_clients_reach_nginx_alone_and_nobody_but_the_master_and_the_operator_s3(read: dict[str, Any]) -> None:
    def members(network: str) -> set[str]:
        return {name for name, service in read["services"].items() if network in service.get("networks", [])}

    assert members("clients") == {"nginx", "client-0", "client-1", "client-2"}
    assert members("tiers") == {"nginx", "worker-1", "worker-2", "master", "operator"}
    assert members("storage") == {"minio", "master", "operator"}
    assert members("outside") == {*_SHARDS, "nginx", "tensorboard"}
    assert read["services"]["initial-model"]["network_mode"] == "none"
    assert [name for name, network in read["networks"].items() if not network.get("internal")] == ["outside"]


def test_every_volume_is_declared_and_used(read: dict[str, Any]) -> None:
    mounted = {
        source(volume)
        for service in read["services"].values()
        for volume in service.get("volumes", [])
        if not is_folder(volume)
    }
    assert mounted == set(read["volumes"])


def test_no_volume_is_taken_for_another_that_begins_with_its_name(read: dict[str, Any]) -> None:
    names = set(read["volumes"])
    assert {(one, other) for one in names for other in names - {one} if other.startswith(one)} == set()


def test_what_belongs_to_one_service_is_mounted_by_it_alone(read: dict[str, Any]) -> None:
    mounting: dict[str, set[str]] = {}
    for name, service in read["services"].items():
        for volume in service.get("volumes", []):
            if not is_folder(volume) and name != "credentials":
                mounting.setdefault(source(volume), set()).add(name)

    for number in range(3):
        assert mounting.pop(f"client-{number}-data") == {f"shard-{number}", f"client-{number}"}
    assert mounting.pop("mnist") == _SHARDS
    assert mounting.pop("initial-model") == {"initial-model", "master"}
    assert mounting.pop("master-state") == {"master", "tensorboard"}
    assert mounting == {volume: {volume.rpartition("-")[0]} for volume in mounting}


def test_what_runs_comes_back_and_may_finish_what_it_does(read: dict[str, Any]) -> None:
    lasting = {name: service for name, service in services(read).items() if name not in {*_ONE_SHOTS, "operator"}}

    for name, service in lasting.items():
        assert service["restart"] == ("on-failure" if name.startswith("client") else "unless-stopped"), name
    for name in ("master", "worker-1", "worker-2", "minio", "client-0", "client-1", "client-2", "nginx"):
        assert service_seconds(lasting[name]["stop_grace_period"]) >= 60, name


def service_seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


def test_what_ends_depends_on_nothing_or_podman_could_not_start_what_depends_on_it(read: dict[str, Any]) -> None:
    assert [name for name in _ONE_SHOTS if read["services"][name].get("depends_on")] == []


def test_commands_take_what_they_are_told_and_read_every_variable(read: dict[str, Any]) -> None:
    for name, service in {**services(read, "fedtier-server"), **services(read, "fedtier-client")}.items():
        told = {key: value for key, value in (service.get("environment") or {}).items() if key.startswith("FEDTIER_")}
        if "entrypoint" in service:
            continue
        called = [service["command"]] if "command" in service else [[command] for command in _OPERATORS]
        read_by_them = set().union(*(variables(command[0]) for command in called))
        assert set(told) <= read_by_them | _READ_WITHOUT_A_FLAG, name
        if "command" in service:
            given = {key: str(value) for key, value in told.items() if value is not None}
            with patch.dict(os.environ, given, clear=True):
                command_named(called[0][0]).make_context(name, [str(word) for word in called[0][1:]])


def test_settings_of_yours_reach_the_commands() -> None:
    yours = as_podman_compose_reads(FEDTIER_ROUNDS="7", FEDTIER_SEED="5", FEDTIER_TASK="mnist_2nn")["services"]

    assert yours["master"]["environment"]["FEDTIER_ROUNDS"] == "7"
    assert yours["client-1"]["environment"]["FEDTIER_ROUNDS"] == "7"
    assert {
        yours[name]["environment"]["FEDTIER_SEED"] for name in ("shard-1", "initial-model", "master", "client-0")
    } == {"5"}
    assert (
        yours["initial-model"]["environment"]["FEDTIER_INIT_MODEL"] == yours["client-0"]["environment"]["FEDTIER_TASK"]
    )


def test_mnist_is_fetched_unless_a_folder_is_named() -> None:
    def shard(**variables: str) -> tuple[str, str]:
        service = as_podman_compose_reads(**variables)["services"]["shard-2"]
        [volume] = [volume for volume in service["volumes"] if ":/mnist" in volume]
        return volume, service["environment"]["FEDTIER_DATA_DIR"]

    assert shard() == ("mnist:/mnist:ro,z", "")
    assert shard(FEDTIER_MNIST_DIR="./mnist") == ("./mnist:/mnist:ro,z", "/mnist")


def test_images_are_those_of_this_version(read: dict[str, Any]) -> None:
    ours = {service["image"] for service in read["services"].values() if service["image"].startswith("fedtier-")}
    project = (CHECKOUT / "pyproject.toml").read_text()
    [version] = [line.split('"')[1] for line in project.splitlines() if line.startswith("version = ")]

    assert ours == {f"fedtier-{name}:{version}" for name in ("server", "client", "tensorboard")}
    built = {name: service["build"]["target"] for name, service in read["services"].items() if "build" in service}
    assert built == {"credentials": "server", "initial-model": "client", "tensorboard": "tensorboard"}


def command_named(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


def variables(command: str) -> set[str]:
    return {
        str(name)
        for option in command_named(command).params
        for name in ([option.envvar] if option.envvar else [f"{ENVIRONMENT_PREFIX}_{option.name}".upper()])
    }
