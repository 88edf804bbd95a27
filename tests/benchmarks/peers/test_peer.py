import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers.peer import run_peer
from benchmarks.peers.programs import Programs, RunFailedError
from benchmarks.peers.task import Task
from benchmarks.peers.venvs import Venv
from benchmarks.peers.work import Work, make_arrays
from tests.masters import PATIENCE

pytestmark = pytest.mark.system
CLIENTS = 3
SERVER = "import threading; held = b'x' * 50_000_000; threading.Event().wait()"


@pytest.fixture
def task(tmp_path: Path) -> Task:
    found = Task(
        clients=CLIENTS, megabytes=0.1, rounds=2, arrays=tmp_path, cache=tmp_path, patience=PATIENCE, logs=None
    )
    make_arrays(tmp_path, found.outline, CLIENTS)
    return found


class Toy:
    """Clients that need no server, beside a server that does nothing but hold 50 MB."""

    def __init__(self, fault: str = "none") -> None:
        self.fault = fault

    def __call__(self, work: Work, venv: Venv, programs: Programs) -> Sequence[int]:
        server = programs.start("server", [sys.executable, "-I", "-c", SERVER])
        for client in range(work.clients):
            fault = self.fault if client == 1 else "none"
            programs.start(f"client-{client}", [sys.executable, "-m", f"{__package__}.toy_client", str(client), fault])
        return [server]


def run(task: Task, fault: str = "none") -> tuple[float, ...]:
    return run_peer(task, Venv(Path(sys.prefix)), Toy(fault), "toy").seconds


def test_every_measured_round_has_its_seconds_and_the_warm_up_has_none(task: Task) -> None:
    seconds = run(task)
    assert len(seconds) == task.rounds
    assert all(each > 0 for each in seconds)


def test_memory_is_that_of_the_servers_side(task: Task) -> None:
    memory = run_peer(replace(task, memory=True), Venv(Path(sys.prefix)), Toy(), "toy").memory
    assert memory is not None
    assert memory.samples > 0
    assert 50 <= memory.server_pss_megabytes < 100


def test_nobody_looks_at_memory_while_seconds_count(task: Task) -> None:
    assert run_peer(task, Venv(Path(sys.prefix)), Toy(), "toy").memory is None


def test_a_client_whose_average_is_without_weights_is_found(task: Task) -> None:
    with pytest.raises(RunFailedError, match="in turn 2 client 1 held a model that is off by"):
        run(task, "forgets weights")


def test_a_client_that_ends_is_named_with_its_last_words_and_its_output_is_kept(task: Task, tmp_path: Path) -> None:
    kept = replace(task, logs=tmp_path / "logs")
    with pytest.raises(RunFailedError, match="client-1 ended with status 1: no more memory"):
        run(kept, "ends")
    assert (tmp_path / "logs" / "toy" / "client-1.log").read_text() == "no more memory\n"


def test_a_client_that_stays_away_is_not_awaited_for_ever(task: Task) -> None:
    hasty = replace(task, patience=1.0)
    with pytest.raises(RunFailedError, match="not all clients came to"):
        run(hasty, "stays away")
