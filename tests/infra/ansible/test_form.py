from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.ansible.plays import ANSIBLE, PLAYBOOKS, ansible
from tests.infra.programs import CHECKOUT, environment

SCRIPTS = sorted(ANSIBLE.glob("*.sh"))
TASK_FILES = sorted([*PLAYBOOKS, *ANSIBLE.glob("roles/*/tasks/*.yml"), *ANSIBLE.glob("roles/*/handlers/*.yml")])
_SECRET_PARTS = ("tokens/", "servers/", "s3.json", "s3-credentials")
_FREE_FORM = {"shell", "raw", "script"}


def found_tasks(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every task in a file's document, those in blocks too."""
    if isinstance(node, list):
        for item in node:
            yield from found_tasks(item)
    elif isinstance(node, dict):
        yield node
        for name in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
            yield from found_tasks(node.get(name))


TASKS = [(path, task) for path in TASK_FILES for task in found_tasks(yaml.safe_load(path.read_text()))]


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_a_playbook_is_well_formed(playbook: Path) -> None:
    ansible("ansible-playbook", "--syntax-check", "--inventory", ANSIBLE / "inventory" / "lab.example.yml", playbook)


def test_ansible_lint_has_nothing_to_say_in_its_strictest_profile() -> None:
    lint = shutil.which("ansible-lint")
    if lint is None:
        pytest.skip("ansible-lint is not installed; ./test.sh installs it")
    done = subprocess.run(
        [lint, "--offline", "--profile", "production", "--nocolor"],
        cwd=ANSIBLE,
        env=environment() | {"PATH": f"{Path(lint).parent}:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_no_task_calls_a_shell_or_looks_away_from_its_failure() -> None:
    assert TASKS
    for path, task in TASKS:
        names = {name.rpartition(".")[2] for name in task}
        assert not names & _FREE_FORM, f"{path}: {task}"
        assert not task.get("ignore_errors"), f"{path}: {task}"


def test_modules_come_with_ansible_itself() -> None:
    for path, task in TASKS:
        others = [name for name in task if "." in name and not name.startswith("ansible.builtin.")]
        assert others == [], f"{path}: {others}"


def test_tasks_that_carry_secrets_are_not_logged_and_make_files_for_their_owner_alone() -> None:
    carriers = []
    for path, task in TASKS:
        call = task.get("ansible.builtin.copy") or task.get("ansible.builtin.template") or {}
        if any(part in str(call.get("src")) for part in _SECRET_PARTS):
            carriers.append(task)
            assert task.get("no_log") is True, f"{path}: {task['name']}"
            assert (call["mode"], call["owner"]) == ("0600", "fedtier"), f"{path}: {task['name']}"
    assert len(carriers) == 5


@pytest.mark.parametrize(
    "script", [path for path in SCRIPTS if path.stem not in {"play", "train"}], ids=lambda path: path.name
)
def test_a_script_says_how_it_is_called_without_setting_anything_up(script: Path) -> None:
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True, env=environment())
    assert f"Usage: infra/ansible/{script.name}" in done.stdout
    assert "--inventory FILE" in done.stdout


def test_a_script_names_the_inventory_that_is_missing(tmp_path: Path) -> None:
    call = [str(ANSIBLE / "init.sh"), "--inventory", str(tmp_path / "none.yml")]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 1
    assert f"there is no inventory {tmp_path / 'none.yml'}" in done.stderr


def test_scripts_pass_shellcheck() -> None:
    checker = CHECKOUT / ".venv" / "bin" / "shellcheck"
    program = str(checker) if checker.exists() else shutil.which("shellcheck")
    assert program, "shellcheck is not installed; ./test.sh installs it"
    done = subprocess.run(
        [program, "--external-sources", *SCRIPTS], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
