from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedtier_cli.deploying.site import Host, Ssh
from fedtier_cli.display import LineDisplay
from fedtier_cli.processes import Children, RunFailed
from fedtier_cli.remote_clients import RemoteClients, as_root

pytestmark = pytest.mark.system

SSH = """#!/bin/sh
# Stands for a connection to a host: prints what that host's journal has for it, and ends as told.
for word; do case "$word" in lab-*) host="$word" ;; esac; done
number=$(cat "$HOSTS/$host/connections" 2>/dev/null || echo 0)
echo $((number + 1)) >"$HOSTS/$host/connections"
echo "$@" >>"$HOSTS/$host/calls"
cat "$HOSTS/$host/$number" || { echo "ssh: connect to host $host: No route to host" >&2; exit 255; }
[ ! -e "$HOSTS/$host/$number.ends" ] || exit "$(cat "$HOSTS/$host/$number.ends")"
exec sleep 600
"""
DEADLINE = 30


class Lab:
    """Hosts whose journals are files, one for each connection; what they say is in the order of the clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = io.StringIO()
        self.ended: list[str] = []
        programs = folder / "bin"
        programs.mkdir()
        (programs / "ssh").write_text(SSH)
        (programs / "ssh").chmod(stat.S_IRWXU)
        sleep = shutil.which("sleep")
        assert sleep is not None
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        self.children = Children(folder / "logs", {**os.environ, "PATH": path, "HOSTS": str(folder)})

    def host(
        self, name: str, *clients: str, connections: list[list[bytes]], ends: tuple[int, ...] = (), status: int = 255
    ) -> Host:
        folder = self.folder / name
        folder.mkdir()
        for number, lines in enumerate(connections):
            (folder / str(number)).write_bytes(b"".join(line + b"\n" for line in lines))
        for number in ends:
            (folder / f"{number}.ends").write_text(str(status))
        return Host(name=name, address=name, ssh=Ssh(host=name), groups=("clients",), client_ids=clients)

    def clients(self, *hosts: Host, last_round: int = 3) -> RemoteClients:
        return RemoteClients(
            [client for host in hosts for client in host.client_ids],
            hosts,
            self.children,
            last_round=last_round,
            end=lambda: self.ended.append("all"),
            clock=time.monotonic,
            display=LineDisplay(Console(file=self.said, width=200)),
        )

    def follow(self, clients: RemoteClients, *, published: int = 0) -> None:
        """Listen until all have finished."""
        deadline = time.monotonic() + DEADLINE
        while clients.is_running and time.monotonic() < deadline:
            clients.tend(time.monotonic(), published)
            event = self.children.next_event(0.1)
            if event is not None:
                assert clients.takes(event)
        assert not clients.is_running


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    with lab.children:
        yield lab


def entry(message: str, cursor: int, client: str = "", **fields: Any) -> bytes:
    unit = {"_SYSTEMD_UNIT": f"fedtier-client@{client}.service"} if client else {}
    return json.dumps({"__CURSOR": f"s=1;i={cursor}", "MESSAGE": message, **unit, **fields}).encode()


def told(event: str, cursor: int, client: str, **members: Any) -> bytes:
    return entry(json.dumps({"event": event, "client_id": client, **members}), cursor, client)


BEFORE = entry("Started something", 1)


def finished(client: str, cursor: int = 9, *, number: int = 3) -> bytes:
    return told("finished", cursor, client, round=number, ok=True, detail=f"round {number} is published")


def test_clients_have_finished_when_each_says_so_of_the_last_round(lab: Lab) -> None:
    here = lab.host("lab-1", "client-0", "client-1", connections=[[BEFORE, finished("client-0"), finished("client-1")]])
    there = lab.host("lab-2", "client-2", connections=[[BEFORE, finished("client-2")]])
    clients = lab.clients(here, there)
    clients.listen()
    assert clients.is_running
    lab.follow(clients)


def test_a_client_that_was_told_to_stop_is_waited_for(lab: Lab) -> None:
    stopped = told("finished", 2, "client-0", round=1, ok=True, detail="told to stop")
    clients = lab.clients(lab.host("lab-1", "client-0", connections=[[BEFORE, stopped, finished("client-0")]]))
    clients.listen()
    event = lab.children.next_event(DEADLINE)
    assert event is not None
    clients.takes(event)
    assert clients.is_running
    lab.follow(clients)


def test_a_host_that_was_away_is_heard_again_from_where_it_was_left(lab: Lab) -> None:
    training = told("training", 5, "client-0", round=1, attempt=1)
    host = lab.host("lab-1", "client-0", connections=[[BEFORE, training], [training, finished("client-0")]], ends=(0,))
    clients = lab.clients(host)
    clients.listen()
    lab.follow(clients)
    calls = (lab.folder / "lab-1" / "calls").read_text().splitlines()
    assert "--lines=1" in calls[0]
    assert "'--cursor=s=1;i=5'" in calls[1]
    assert lab.said.getvalue().splitlines() == [
        "lab-1 with client-0 is away; the run goes on when it is back",
        "lab-1 is back",
    ]


def test_a_host_that_is_away_for_longer_is_told_of_once_and_tried_again(lab: Lab) -> None:
    host = lab.host("lab-1", "client-0", connections=[[BEFORE], [], [finished("client-0", 2)]], ends=(0, 1))
    clients = lab.clients(host)
    clients.listen()
    lab.follow(clients)
    assert lab.said.getvalue().count("is away") == 1
    assert lab.said.getvalue().count("lab-1 is back") == 1


def test_a_host_that_cannot_tell_of_news_is_asked_again_and_again(lab: Lab) -> None:
    connections = [[BEFORE], [BEFORE], [BEFORE, finished("client-0", 2)]]
    clients = lab.clients(lab.host("lab-1", "client-0", connections=connections, ends=(0, 1, 2), status=0))
    clients.listen()
    lab.follow(clients)
    assert lab.said.getvalue() == ""


def test_a_host_that_cannot_be_reached_at_the_start_fails_the_run_by_name(lab: Lab) -> None:
    good = lab.host("lab-1", "client-0", connections=[[BEFORE]])
    clients = lab.clients(good, lab.host("lab-2", "client-1", connections=[]))
    with pytest.raises(RunFailed) as failure:
        clients.listen()
    sentence = str(failure.value)
    assert sentence.startswith("lab-2 cannot be reached: ssh ended with status 255. Check its ansible_host")
    assert "No route to host" in sentence


def test_a_client_that_fails_is_named_with_its_host_and_the_end_of_its_journal(lab: Lab) -> None:
    failing = told("finished", 3, "client-1", round=0, ok=False, detail="its task failed: no such file")
    lines = [BEFORE, entry("Traceback of the task", 2, "client-1"), failing]
    clients = lab.clients(lab.host("lab-1", "client-0", "client-1", connections=[lines]))
    clients.listen()
    with pytest.raises(RunFailed) as failure:
        lab.follow(clients)
    sentence = str(failure.value)
    assert sentence.startswith("lab-1 plays client-1, which stopped: its task failed: no such file; its log ")
    assert sentence.endswith("client-1: Traceback of the task")


def test_what_a_client_elsewhere_says_of_its_failure_cannot_draw_on_the_terminal(lab: Lab) -> None:
    failing = told("finished", 3, "client-0", round=0, ok=False, detail="no\x1b[2Jdata")
    lines = [BEFORE, entry("a\tb \x1b]0;title\x07", 2, "client-0"), failing]
    clients = lab.clients(lab.host("lab-1", "client-0", connections=[lines]))
    clients.listen()
    with pytest.raises(RunFailed) as failure:
        lab.follow(clients)
    assert r"which stopped: no\x1b[2Jdata; its log" in str(failure.value)
    assert str(failure.value).endswith(r"b \x1b]0;title\x07")


def test_a_client_that_ends_without_a_word_fails_the_run_too(lab: Lab) -> None:
    fields = {"UNIT": "fedtier-client@client-0.service", "MESSAGE_ID": "98e322203f7a4ed290d09fe03c09fe15"}
    end = entry("Main process exited", 3, EXIT_CODE="exited", EXIT_STATUS="1", **fields)
    lines = [BEFORE, entry("Error: the data cannot be read", 2, "client-0"), end]
    clients = lab.clients(lab.host("lab-1", "client-0", connections=[lines]))
    clients.listen()
    with pytest.raises(RunFailed, match="lab-1 plays client-0, which ended with status 1") as failure:
        lab.follow(clients)
    assert "client-0: Error: the data cannot be read" in str(failure.value)


def test_a_client_that_was_killed_is_waited_for(lab: Lab) -> None:
    fields = {"UNIT": "fedtier-client@client-0.service", "MESSAGE_ID": "98e322203f7a4ed290d09fe03c09fe15"}
    end = entry("Main process exited", 3, EXIT_CODE="killed", EXIT_STATUS="9", **fields)
    clients = lab.clients(lab.host("lab-1", "client-0", connections=[[BEFORE, end, finished("client-0")]]))
    clients.listen()
    lab.follow(clients)
    assert lab.said.getvalue() == "client-0 on lab-1 was ended by SIGKILL and is started again there\n"


def test_in_the_end_a_host_that_is_away_is_not_waited_for(lab: Lab) -> None:
    good = lab.host("lab-1", "client-0", connections=[[BEFORE, finished("client-0")]])
    clients = lab.clients(good, lab.host("lab-2", "client-1", connections=[[BEFORE]], ends=(0,)))
    clients.listen()
    lab.follow(clients, published=3)
    assert (lab.folder / "lab-2" / "connections").exists()


def test_in_the_end_a_client_that_says_nothing_is_waited_for_a_minute(lab: Lab) -> None:
    clients = lab.clients(lab.host("lab-1", "client-0", connections=[[BEFORE]]))
    clients.listen()
    clients.tend(100.0, 3)
    clients.tend(159.0, 3)
    assert clients.is_running
    clients.tend(160.0, 3)
    assert not clients.is_running
    assert lab.said.getvalue().endswith("nothing was heard of the end of client-0\n")


def test_stopping_stops_what_runs_on_the_hosts(lab: Lab) -> None:
    lab.clients(lab.host("lab-1", "client-0", connections=[[BEFORE]])).stop()
    assert lab.ended == ["all"]


@pytest.mark.parametrize(
    ("user", "called"), [("0", "journalctl --unit=a b"), ("1000", "sudo -n journalctl --unit=a b")]
)
def test_whoever_is_no_root_there_reads_the_journal_as_root(tmp_path: Path, user: str, called: str) -> None:
    for name, script in {"id": f"echo {user}", "sudo": 'echo sudo "$@"', "journalctl": 'echo journalctl "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    words = as_root(["journalctl", "--unit=a b"])
    assert subprocess.run(words, env={"PATH": path}, capture_output=True, text=True, check=True).stdout == f"{called}\n"
