"""Playbooks by real Ansible on this machine: what is seen of them, and what is said when they fail."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from fedtier.problems import StartupError
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.plays import (
    HostDone,
    HostTally,
    ItemDone,
    Outcome,
    PlayEvent,
    PlayStarted,
    Recap,
    TaskOnHost,
    TaskStarted,
)
from fedtier_cli.interruption import Interrupted, signals_raised
from tests.fedtier_cli.deploying.plays_here import NOWHERE, Tasks, inventory_file, playbooks

pytestmark = pytest.mark.infra

SAY = {"name": "Say something", "ansible.builtin.debug": {"msg": "hello {{ who | default('nobody') }}"}}


def refusal(plays: Playbooks, **settings: float) -> str:
    with pytest.raises(StartupError) as raised:
        plays.run("some", timeout=settings.get("timeout"))
    return str(raised.value)


def test_a_playbook_tells_of_every_task_host_and_item(tmp_path: Path) -> None:
    touch = {
        "name": "Make files",
        "ansible.builtin.copy": {"content": "x", "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}-{{{{ item }}}}"},
        "loop": ["a", "b"],
        "when": "inventory_hostname == 'one'",
    }
    plays = playbooks(tmp_path, [SAY, touch])
    seen: list[PlayEvent] = []

    result = plays.run("some", extra_vars={"who": "you"}, see=seen.append)

    assert seen[:2] == [PlayStarted("A play"), TaskStarted("A play", "Say something")]
    assert TaskOnHost("Make files", "one") in seen
    said = {
        event.host: event.result["msg"] for event in seen if isinstance(event, HostDone) and event.task == SAY["name"]
    }
    assert said == {"one": "hello you", "two": "hello you"}
    made = [event for event in seen if isinstance(event, ItemDone) and event.host == "one"]
    assert made == [ItemDone("Make files", "one", item, Outcome.CHANGED) for item in ("a", "b")]
    assert [
        (event.host, event.outcome) for event in seen if isinstance(event, HostDone) and event.task == "Make files"
    ] == [
        ("two", Outcome.SKIPPED),
        ("one", Outcome.CHANGED),
    ]
    assert seen[-1] == Recap(result.hosts)
    assert result.hosts == {"one": HostTally(ok=2, changed=1), "two": HostTally(ok=1, skipped=1)}
    assert result.changed == 1
    assert plays.run("some", limit="one").hosts == {"one": HostTally(ok=2)}


def test_failures_name_hosts_task_and_message_but_no_secret(tmp_path: Path) -> None:
    fails = {
        "ansible.builtin.command": {"argv": ["sh", "-c", "echo 'no: https://me:pass@packages.example' >&2; exit 3"]}
    }
    tasks: Tasks = [
        {"name": "Say it", "ansible.builtin.ping": {}},
        {"name": "Install a package", **fails, "when": "inventory_hostname != 'four'"},
        {"name": "Write a key", **fails, "no_log": True},
    ]
    hosts = {"one": {}, "two": {}, "three": NOWHERE, "four": {}}
    assert refusal(playbooks(tmp_path, tasks, hosts)).splitlines() == [
        "some.yml did not finish",
        "three cannot be reached, in the task 'Say it': ssh: connect to host 127.0.0.1 port 1: Connection refused",
        "the task 'Install a package' failed on one, two: non-zero return code",
        "  no: https://[hidden]@packages.example",
        "the task 'Write a key' failed on four: the task handles secrets, so Ansible shows no message",
        "see that each host is up, and that ssh reaches it at the inventory's address, port, user and key; then call "
        "the same again, what is done already stays",
    ]


def test_what_a_loop_says_of_its_first_failed_item_is_said(tmp_path: Path) -> None:
    tasks = [{"name": "Loop", "ansible.builtin.fail": {"msg": "not {{ item }}"}, "loop": ["this", "that"]}]
    assert refusal(playbooks(tmp_path, tasks, {"one": {}})).splitlines() == [
        "some.yml did not finish",
        "the task 'Loop' failed on one: not this",
        "mend that and call the same again; what is done already stays",
    ]


def test_a_failure_that_the_playbook_ignores_is_none(tmp_path: Path) -> None:
    seen: list[PlayEvent] = []
    tasks = [{"name": "Try", "ansible.builtin.fail": {"msg": "no"}, "ignore_errors": True}]
    playbooks(tmp_path, tasks, {"one": {}}).run("some", see=seen.append)
    assert [event.outcome for event in seen if isinstance(event, HostDone)] == [Outcome.OK]


def test_a_playbook_that_is_none_is_quoted_as_ansible_does(tmp_path: Path) -> None:
    plays = playbooks(tmp_path, [])
    (tmp_path / "playbooks" / "some.yml").write_text("- hosts: all\n  tsks: []\n")
    first, second, *_ = refusal(plays).splitlines()
    assert first == "some.yml could not be run; Ansible says"
    assert second == "  [ERROR]: 'tsks' is not a valid attribute for a Play"


@pytest.fixture
def endless(tmp_path: Path) -> Playbooks:
    """Playbooks of which one does not end by itself: it waits for a reader of ``pipe``, and keeps that open."""
    os.mkfifo(tmp_path / "pipe")
    script = f"exec 3>{tmp_path}/pipe; echo >&3; exec sleep 1000"
    wait = {"name": "Wait", "ansible.builtin.command": {"argv": ["sh", "-c", script]}}
    return playbooks(tmp_path, [wait], {"one": {}})


def test_one_that_takes_too_long_is_ended(endless: Playbooks) -> None:
    sentence = "some.yml was not done after 2 s and was ended; call the same again, to go on there"
    assert refusal(endless, timeout=2) == sentence


def test_ctrl_c_ends_ansible_with_what_it_started_and_is_passed_on(endless: Playbooks, tmp_path: Path) -> None:
    read: list[bytes] = []

    def interrupt() -> None:
        with (tmp_path / "pipe").open("rb", buffering=0) as pipe:
            read.append(pipe.read(1))
            os.kill(os.getpid(), signal.SIGINT)
            read.append(pipe.read())  # until nobody holds the other end

    reader = threading.Thread(target=interrupt, daemon=True)
    reader.start()
    with pytest.raises(Interrupted), signals_raised():
        endless.run("some")
    assert "ansible" not in {thread.name for thread in threading.enumerate()}
    reader.join(60)
    assert read == [b"\n", b""]


@pytest.mark.parametrize(
    ("name", "sentence"), [("hosts.json", "there is no playbook "), ("none.yml", "there is no inventory ")]
)
def test_what_is_not_there_is_said_before_anything_is_run(tmp_path: Path, name: str, sentence: str) -> None:
    inventory_file(tmp_path, {"one": {}})
    with pytest.raises(StartupError, match=sentence):
        Playbooks(tmp_path / name, folder=tmp_path).run("init")
