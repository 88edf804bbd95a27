from __future__ import annotations

import io
import os
import signal
import threading
from pathlib import Path

import pytest
from rich.console import Console

from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.display import LineDisplay
from fedtier_cli.interruption import Interrupted, signals_raised
from fedtier_cli.remote_training import not_left_alone
from tests.fedtier_cli.deploying.plays_here import NOWHERE, inventory_file, playbook_file

pytestmark = pytest.mark.system


def stopping(folder: Path, *hosts: str) -> Playbooks:
    """Return playbooks of which ``stop_clients`` leaves a file for each host; ``nowhere`` cannot be reached."""
    task = {"name": "Stop them", "ansible.builtin.file": {"path": f"{folder}/{{{{ inventory_hostname }}}}-stopped"}}
    task["ansible.builtin.file"] |= {"state": "touch", "mode": "0644"}  # type: ignore[operator]
    playbook_file(folder, "stop_clients", [task], hosts="clients")
    known = {name: NOWHERE if name == "nowhere" else {} for name in hosts}
    return Playbooks(inventory_file(folder, known), folder=folder)


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def display(said: io.StringIO) -> LineDisplay:
    return LineDisplay(Console(file=said, width=200))


def test_a_run_that_ends_early_stops_the_clients_of_all_hosts(
    tmp_path: Path, display: LineDisplay, said: io.StringIO
) -> None:
    playbooks = stopping(tmp_path, "lab-1", "lab-2")
    with pytest.raises(Interrupted), not_left_alone(playbooks, display):
        raise Interrupted(2)
    assert sorted(path.name for path in tmp_path.glob("*-stopped")) == ["lab-1-stopped", "lab-2-stopped"]
    assert "all clients are stopped; the servers stay" in said.getvalue()


def test_clients_that_cannot_be_stopped_do_not_hide_why_the_run_ended(
    tmp_path: Path, display: LineDisplay, said: io.StringIO
) -> None:
    playbooks = stopping(tmp_path, "lab-1", "nowhere")
    with pytest.raises(Interrupted), not_left_alone(playbooks, display):
        raise Interrupted(2)
    assert [path.name for path in tmp_path.glob("*-stopped")] == ["lab-1-stopped"]
    assert "clients may still run" in said.getvalue()
    assert "nowhere cannot be reached" in said.getvalue()


def test_clients_of_a_run_that_ends_well_are_left_alone(tmp_path: Path, display: LineDisplay) -> None:
    with not_left_alone(stopping(tmp_path, "lab-1"), display):
        pass
    assert not list(tmp_path.glob("*-stopped"))


def test_whoever_does_not_wait_for_the_clients_to_stop_is_told(
    tmp_path: Path, display: LineDisplay, said: io.StringIO
) -> None:
    os.mkfifo(tmp_path / "pipe")
    script = f"exec 3>{tmp_path}/pipe; exec sleep 1000"
    wait = {"name": "Wait", "ansible.builtin.command": {"argv": ["sh", "-c", script]}}
    playbook_file(tmp_path, "stop_clients", [wait], hosts="clients")
    playbooks = Playbooks(inventory_file(tmp_path, {"lab-1": {}}), folder=tmp_path)

    def interrupt() -> None:
        with (tmp_path / "pipe").open("rb"):
            os.kill(os.getpid(), signal.SIGINT)

    impatient = threading.Thread(target=interrupt, daemon=True)
    impatient.start()
    with signals_raised(), pytest.raises(Interrupted) as first, not_left_alone(playbooks, display):
        raise Interrupted(signal.SIGTERM)
    impatient.join(60)
    assert first.value.number == signal.SIGTERM
    assert said.getvalue().endswith("clients may still run, which infra/ansible/stop.sh ends with the servers\n")
