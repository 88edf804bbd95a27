"""How the scripts call Ansible, in a checkout of which the packages are stand-ins that print what they are told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.infra.ansible.plays import ANSIBLE
from tests.infra.programs import CHECKOUT, environment

_EXTRAS = ("server", "client", "view", "deploy")
_TELLS = '#!/bin/sh\nprintf "%s\\n" "$ANSIBLE_CONFIG" "$@"\n'

Call = Callable[..., list[str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose path has a space, and which is set up."""
    copy = tmp_path.resolve() / "a checkout"
    shutil.copytree(CHECKOUT / "scripts", copy / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "infra" / "ansible" / "inventory").mkdir(parents=True)
    for script in ANSIBLE.glob("*.sh"):
        shutil.copy(script, copy / "infra" / "ansible")
    for name in ("train.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(CHECKOUT / name, copy)
    (copy / ".venv" / "bin").mkdir(parents=True)
    (copy / ".venv" / "pyvenv.cfg").touch()
    (copy / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for name in ("fedtier", "ansible-playbook"):
        program = copy / ".venv" / "bin" / name
        program.write_text(_TELLS)
        program.chmod(0o755)
    note = 'source "$0" && for extra; do wanted_state >"$(stamp_of "$extra")"; done'
    subprocess.run(["bash", "-c", note, copy / "scripts" / "setup.sh", *_EXTRAS], check=True, env=environment())
    return copy


@pytest.fixture
def call(checkout: Path, tmp_path: Path) -> Call:
    """Calls a script from another folder, in which the inventory lies, and returns what Ansible or fedtier is told."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "my hosts.yml").touch()

    def told(script: str, *words: str) -> list[str]:
        command = [str(checkout / "infra" / "ansible" / script), *words]
        done = subprocess.run(command, cwd=elsewhere, env=environment(), capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.splitlines()

    return told


@pytest.mark.parametrize("name", ["init", "ping", "master", "worker", "restart", "stop", "upgrade"])
def test_a_script_is_one_playbook_wherever_it_is_called_from(name: str, call: Call, checkout: Path) -> None:
    ansible = checkout / "infra" / "ansible"
    assert call(f"{name}.sh", "--inventory", "my hosts.yml", "--key_path", "a key", "--limit", "w 0") == [
        str(ansible / "ansible.cfg"),
        *("--inventory", "my hosts.yml", "--private-key", "a key", "--limit", "w 0"),
        str(ansible / "playbooks" / f"{name}.yml"),
    ]


def test_the_inventory_is_the_one_in_the_checkout_unless_another_is_named(call: Call, checkout: Path) -> None:
    hosts = checkout / "infra" / "ansible" / "inventory" / "hosts.yml"
    hosts.touch()
    assert call("init.sh")[1:3] == ["--inventory", str(hosts)]
    assert call("init.sh", "--key-path=k", "--inventory=my hosts.yml")[1:5] == [
        *("--inventory", "my hosts.yml", "--private-key", "k"),
    ]


@pytest.mark.parametrize(
    "words",
    [("https://m:5000", "--inventory", "my hosts.yml"), ("--inventory", "my hosts.yml", "https://m:5000")],
)
def test_workers_are_put_below_the_master_that_is_named(words: tuple[str, ...], call: Call) -> None:
    assert call("worker.sh", *words)[1:5] == [
        "--inventory",
        "my hosts.yml",
        "--extra-vars",
        "master_url=https://m:5000",
    ]


def test_training_is_that_of_the_checkout_with_its_inventory_unless_another_is_named(
    call: Call, checkout: Path
) -> None:
    hosts = str(checkout / "infra" / "ansible" / "inventory" / "hosts.yml")
    model = ("--round", "2", "--model", "a model.safetensors")
    assert call("train.sh", *model)[1:] == ["train", "--inventory", hosts, *model]
    assert call("train.sh", *model, "--inventory", "my hosts.yml")[1:] == [
        "train",
        *model,
        "--inventory",
        "my hosts.yml",
    ]
