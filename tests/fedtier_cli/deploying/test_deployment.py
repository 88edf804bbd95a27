"""The order of things, on hosts that are this machine and on Terraform files that need no cloud."""

from __future__ import annotations

import io
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedtier.problems import StartupError
from fedtier_cli.deploying.deployment import bring_up, set_up_hosts, tear_down
from fedtier_cli.deploying.display import DeployDisplay, DeployFacts
from fedtier_cli.deploying.line_display import DeployLines
from fedtier_cli.deploying.live_display import DeployLive
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.interruption import Interrupted, signals_raised
from tests.fedtier_cli.deploying.plays_here import Tasks, inventory_file, playbook_file
from tests.fedtier_cli.deploying.tiny_terraform import (
    INVENTORY,
    addresses,
    held_in,
    needs_terraform,
    tiny_terraform,
    when_it_is_being_made,
)
from tests.fedtier_cli.runs import facts_of

pytestmark = pytest.mark.infra

SITE: dict[str, Any] = {
    "federation": "ours",
    "server_url": "https://one:443",
    "master_url": "https://one:5000",
    "bucket_name": "rounds",
    "bucket_key": "jobs/model.safetensors",
    "task": "mnist_cnn",
    "threshold": 2,
    "aws": {"AWS_REGION": "us-east-1"},
    "secrets_dir": "/nowhere/secrets",
    "hosts": {
        "one": {"address": "10.0.0.1", "ssh": {"host": "192.0.2.1", "port": 22}, "groups": ["master_aggregator"]},
        "two": {
            "address": "10.0.0.2",
            "ssh": {"host": "192.0.2.2", "port": 2222},
            "groups": ["clients"],
            "client_ids": ["client-0", "client-1"],
        },
    },
}


def agree(_question: str) -> None:
    """Say yes."""


def refuse(question: str) -> None:
    raise StartupError(question)


def a_site(folder: Path, tasks: Tasks) -> Playbooks:
    """Return playbooks of which ``init`` has these tasks."""
    tell = {"name": "site", "ansible.builtin.debug": {"msg": SITE}}
    playbook_file(folder, "site", [tell], hosts="localhost")
    playbook_file(folder, "init", tasks)
    return Playbooks(inventory_file(folder, {"one": {}, "two": {}}), folder=folder)


def printed_on(width: int, *, terminal: bool) -> tuple[DeployLines, io.StringIO]:
    paper = io.StringIO()
    console = Console(file=paper, force_terminal=terminal, width=width, height=24, no_color=True, highlight=False)
    return (DeployLive if terminal else DeployLines)(console), paper


def test_hosts_are_set_up_and_it_is_said_how_to_go_on(tmp_path: Path) -> None:
    copied = {"content": "x", "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}"}
    write = {"name": "Write", "ansible.builtin.copy": copied}
    playbooks = a_site(tmp_path, [write])
    display, paper = printed_on(200, terminal=False)
    with display:
        set_up_hosts(playbooks, display, agree)
    assert [line.rstrip() for line in paper.getvalue().splitlines()] == [
        "reading the inventory",
        "host  reached at      does",
        "one   192.0.2.1:22    master_aggregator",
        "two   192.0.2.2:2222  clients (client-0, client-1)",
        "setting up hosts",
        "Write: changed on one, two",
        "2 hosts: 2 tasks done, 2 changed something",
        "clients upload to  https://one:443",
        "master             https://one:5000",
        "rounds             s3://rounds/jobs/model.safetensors",
        "secrets            /nowhere/secrets (keep it, and keep it to yourself)",
        "changed            2 tasks",
        f"train              ./train.sh --server https://one:443 --inventory {tmp_path}/hosts.json --round 3 --epoch 1",
    ]
    again, paper = printed_on(200, terminal=False)
    with again:
        set_up_hosts(playbooks, again, agree)
    assert "Write: ok on one, two" in paper.getvalue()
    assert "nothing, all was as it should be" in paper.getvalue()


def test_who_does_not_agree_has_no_host_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch = {"name": "Touch", "ansible.builtin.file": {"path": f"{tmp_path}/touched", "state": "touch"}}
    with pytest.raises(StartupError, match=r"set up these hosts as the federation ours\?"):
        set_up_hosts(a_site(tmp_path, [touch]), DeployFacts(), refuse)
    assert not (tmp_path / "touched").exists()
    hosts = facts_of(capsys.readouterr().out, "host")
    assert [(host["host"], host["clients"]) for host in hosts] == [("one", []), ("two", ["client-0", "client-1"])]


def test_on_a_terminal_every_host_is_seen_and_lines_fit(tmp_path: Path) -> None:
    long = {"name": "A task with a name that is longer than a terminal is wide " * 2, "ansible.builtin.ping": {}}
    fails = {"name": "Try", "ansible.builtin.fail": {"msg": "no"}, "when": "inventory_hostname == 'two'"}
    display, paper = printed_on(80, terminal=True)
    with pytest.raises(StartupError, match="the task 'Try' failed on two: no"), display:
        set_up_hosts(a_site(tmp_path, [long, fails]), display, agree)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", paper.getvalue()).splitlines()
    assert any(line.startswith("✗ two failed: Try") for line in lines)
    last = "✗ setting up hosts: 2 hosts: 2 tasks done, 0 changed something, 1 host failed, "
    assert any(line.startswith(last) for line in lines)
    pictured = [line for line in lines if "… one" in line or "✓ one" in line]
    assert pictured
    assert all(len(line) <= 80 for line in pictured)


def test_facts_are_json_lines_of_every_task_on_every_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_hosts(a_site(tmp_path, [{"name": "Ping", "ansible.builtin.ping": {}}]), DeployFacts(), agree)
    output = capsys.readouterr().out
    assert {json.loads(line)["event"] for line in output.splitlines()} == {"step", "host", "task", "deployed"}
    tasks = facts_of(output, "task")
    assert sorted((task["host"], task["task"], task["outcome"]) for task in tasks) == [
        ("one", "Ping", "ok"),
        ("two", "Ping", "ok"),
    ]
    assert facts_of(output, "deployed")[0]["clients_upload_to"] == "https://one:443"


@needs_terraform
class TestTerraform:
    @pytest.fixture(params=["facts", "lines", "live"])
    def display(self, request: pytest.FixtureRequest) -> DeployDisplay:
        if request.param == "facts":
            return DeployFacts()
        return printed_on(80, terminal=request.param == "live")[0]

    def test_what_is_made_is_written_as_an_inventory_and_goes_with_it(
        self, tmp_path: Path, display: DeployDisplay
    ) -> None:
        folder, inventory = tmp_path / "terraform", tmp_path / "new" / "aws.json"
        with display:
            bring_up(tiny_terraform(folder, see=display.resource), inventory, display, agree)
        assert json.loads(inventory.read_text()) == INVENTORY
        with display:
            tear_down(tiny_terraform(folder, see=display.resource), inventory, display, agree)
        assert addresses(folder) == []
        assert not inventory.exists()

    def test_who_does_not_agree_has_nothing_made_and_nothing_destroyed(self, tmp_path: Path) -> None:
        folder, inventory = tmp_path / "terraform", tmp_path / "aws.json"
        display, paper = printed_on(80, terminal=False)
        with pytest.raises(StartupError, match=r"make these changes\?"):
            bring_up(tiny_terraform(folder), inventory, display, refuse)
        assert not (folder / "terraform.tfstate").exists()
        assert '+ second.terraform_data.this["b"]\n+ terraform_data.first\n2 to create\n' in paper.getvalue()

        bring_up(tiny_terraform(folder), inventory, display, agree)
        with pytest.raises(StartupError, match=r"destroy all of these, for good\?"):
            tear_down(tiny_terraform(folder), inventory, display, refuse)
        assert addresses(folder) == ["module.second", "root"]
        assert inventory.exists()

    def test_an_inventory_that_somebody_wrote_is_not_removed(self, tmp_path: Path) -> None:
        folder, inventory = tmp_path / "terraform", tmp_path / "hosts.yml"
        bring_up(tiny_terraform(folder), tmp_path / "aws.json", DeployFacts(), agree)
        for written in ("all: {hosts: {lab-1: {}}}\n", '{"all": {"hosts": {"lab-1": {}}}}\n'):
            inventory.write_text(written)
            tear_down(tiny_terraform(folder), inventory, DeployFacts(), agree)
            assert inventory.read_text() == written

    def test_a_second_time_there_is_nothing_to_ask(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        display = DeployFacts()
        folder, inventory = tmp_path / "terraform", tmp_path / "aws.json"
        assert bring_up(tiny_terraform(folder, see=display.resource), inventory, display, agree)
        made = facts_of(capsys.readouterr().out, "resource")
        assert [fact["state"] for fact in made] == ["started", "done", "started", "done"]
        assert not bring_up(tiny_terraform(folder, see=display.resource), inventory, display, refuse)
        output = capsys.readouterr().out
        assert "everything is there already" in [note["detail"] for note in facts_of(output, "note")]
        assert facts_of(output, "plan") == [{"event": "plan", "changes": []}]

    def test_who_interrupts_is_told_what_is_there_and_how_to_go_on(self, tmp_path: Path) -> None:
        folder, inventory = tmp_path / "terraform", tmp_path / "aws.json"
        display, paper = printed_on(200, terminal=False)
        terraform = tiny_terraform(folder, held_in(tmp_path), see=display.resource)
        ended = when_it_is_being_made(tmp_path, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted), display, signals_raised():
            bring_up(terraform, inventory, display, agree)
        ended.join(60)
        lines = paper.getvalue().splitlines()
        assert any(line.startswith("1/2 terraform_data.first created, ") for line in lines)
        assert any(line.startswith("Terraform is told to stop; it finishes what it has begun.") for line in lines)
        assert lines[-1].endswith("its state says what is there; call the same again to go on")
        assert not inventory.exists()
