"""A client that is told to stop says what it leaves on disk, and the next start takes it up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from client.options import ClientOptions, Surroundings
from client.run import run_clients
from client.stopping import Stopping
from tests.client.federation import Federation
from tests.client.loopback import serve

INITIAL = {"mean": np.zeros(1, np.float32)}
KEPT = "told to stop; the update of round 1 stays on disk, and the next start sends it if its round is still open"


class Clients:
    """Clients of one process, told to stop when one of them reports a certain event."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.names = names
        self.facts: list[dict[str, Any]] = []

    def run(self, url: str, told_at: str | None = None) -> int:
        stopping = Stopping()

        def report(fact: Mapping[str, Any]) -> None:
            self.facts.append(dict(fact))
            if fact["event"] == told_at:
                stopping.ask()

        return run_clients([self._options(name, url, report) for name in self.names], Surroundings(stopping=stopping))

    def _options(self, name: str, url: str, report: Callable[[Mapping[str, Any]], None]) -> ClientOptions:
        data = self.folder / f"{name}.txt"
        if not data.exists():
            data.write_text("1\n3\n")
        task, state_dir = "tests.client.numpy_task:ColumnMean", self.folder / "state" / name
        return ClientOptions(server=url, client_id=name, data=data, state_dir=state_dir, task=task, report=report)

    def events(self, name: str) -> list[str]:
        return [fact["event"] for fact in self.facts if fact["client_id"] == name]

    def endings(self) -> dict[str, tuple[bool, str]]:
        return {fact["client_id"]: (fact["ok"], fact["detail"]) for fact in self.facts if fact["event"] == "finished"}

    def saved(self) -> list[str]:
        return sorted(path.parent.name for path in self.folder.glob("state/*/update-*.safetensors"))


def test_a_training_is_given_up_and_done_anew_after_the_next_start(tmp_path: Path) -> None:
    federation, clients = Federation(INITIAL, tmp_path, threshold=1, final_round=1), Clients(tmp_path, "a")
    with serve(federation) as url:
        assert clients.run(url, told_at="training") == 0
        assert clients.events("a") == ["training", "finished"]
        assert clients.endings() == {"a": (True, "told to stop; no update waits to be sent")}
        assert (clients.saved(), federation.trained) == ([], [])

        assert clients.run(url) == 0
    assert len(federation.trained) == 1


def test_an_update_that_is_being_saved_is_saved_and_sent_after_the_next_start(tmp_path: Path) -> None:
    federation, clients = Federation(INITIAL, tmp_path, threshold=1, final_round=1), Clients(tmp_path, "a")
    with serve(federation) as url:
        assert clients.run(url, told_at="trained") == 0
        assert clients.endings() == {"a": (True, KEPT)}
        assert (clients.saved(), federation.trained) == (["a"], [])

        clients.facts.clear()
        assert clients.run(url) == 0
    assert clients.events("a") == ["counted", "finished"]
    assert len(federation.trained) == 1


def test_a_client_whose_update_counts_does_not_wait_for_the_round(tmp_path: Path) -> None:
    federation, clients = Federation(INITIAL, tmp_path, threshold=2, final_round=1), Clients(tmp_path, "a")
    with serve(federation) as url:
        assert clients.run(url, told_at="counted") == 0
    assert clients.endings() == {"a": (True, "told to stop; the update of round 1 counts")}


def test_all_clients_of_a_process_stop(tmp_path: Path) -> None:
    federation, clients = Federation(INITIAL, tmp_path, threshold=3, final_round=1), Clients(tmp_path, "a", "b", "c")
    with serve(federation) as url:
        assert clients.run(url, told_at="trained") == 0
    nothing = "told to stop; no update waits to be sent"
    assert clients.endings() == {"a": (True, KEPT), "b": (True, nothing), "c": (True, nothing)}
    assert federation.trained == []


def test_a_client_that_failed_before_stays_a_failure(tmp_path: Path) -> None:
    federation, clients = Federation(INITIAL, tmp_path, threshold=3, final_round=1), Clients(tmp_path, "bad", "good")
    (tmp_path / "bad.txt").write_text("1\nnan\n")
    with serve(federation) as url:
        assert clients.run(url, told_at="trained") == 1
    assert clients.endings()["bad"][0] is False
    assert clients.endings()["good"] == (True, KEPT)
