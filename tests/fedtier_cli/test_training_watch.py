from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from client.datasets.partition import Partition
from fedtier.bucket import connect
from fedtier.problems import StartupError
from fedtier.store import RoundStore
from fedtier.upstream import Upstream
from fedtier_cli.client_data import ClientData
from fedtier_cli.display import LineDisplay
from fedtier_cli.goal import Goal
from fedtier_cli.processes import Children, Event
from fedtier_cli.round_tests import RoundTests
from fedtier_cli.run_clients import Clients
from fedtier_cli.run_store import RunStore
from fedtier_cli.rundir import RunDirectory
from fedtier_cli.tiers import TierSettings
from fedtier_cli.training_run import Run, RunOptions
from fedtier_cli.training_watch import Watch
from tests.client.federation import make_status

STATUS = make_status({"line": np.zeros(2, np.float32)}, number=1).to_json()


class Somewhere(Run):
    """A run of which it does not matter where it is."""

    is_elsewhere = False

    def scalars(self, tensorboard: str) -> list[tuple[str, str]]:
        return []


class Patient(Clients):
    """Clients that stop after some looks, between which time passes."""

    def __init__(self, clock: list[float], *, looks: int, seconds: float) -> None:
        super().__init__([f"client-{number}" for number in range(3)])
        self._clock, self._looks, self._seconds = clock, looks, seconds

    @property
    def is_running(self) -> bool:
        return self._looks > 0

    def tend(self, now: float, published: int) -> None:
        self._looks -= 1
        self._clock[0] += self._seconds

    def takes(self, event: Event) -> bool:
        return False

    def stop(self) -> None:
        self._looks = 0

    def having(self, wanted: int) -> str:
        return f"have {wanted}"

    @property
    def having_others(self) -> str:
        return "have those"


@contextmanager
def server(statuses: list[int], said: bytes) -> Iterator[Upstream]:
    """Give a connection to a server that answers so, and by the last status from then on; what it says is the same."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as door:
        thread = threading.Thread(target=door.serve_forever)
        thread.start()
        try:
            with Upstream(f"http://127.0.0.1:{door.server_port}") as upstream:
                yield upstream
        finally:
            door.shutdown()
            thread.join()


def watched(tmp_path: Path, statuses: list[int], *, seconds: float, answer: bytes = STATUS) -> list[str]:
    """Return what is said while a server answers so, with so many seconds between looks."""
    said, clock = io.StringIO(), [0.0]
    display = LineDisplay(Console(file=said, width=200), clock=lambda: clock[0])
    nowhere = connect(endpoint="http://127.0.0.1:9", access_key="a", secret_key="s", region="us-east-1")
    options = RunOptions(
        tiers=TierSettings(task="mnist_cnn", workers=1, threshold=3, last_round=5),
        clients=3,
        seed=0,
        partition=Partition(),
        data_dir=None,
        rows=(),
        run_dir=None,
    )
    with Children(tmp_path, {}) as children, server(list(statuses), answer) as upstream:
        run = Somewhere(
            options=options,
            directory=RunDirectory(tmp_path),
            data=ClientData((), tmp_path),
            store=RunStore(RoundStore("bucket", "key.safetensors", client=nowhere)),
            children=children,
            newest_round=None,
            is_testable=False,
        )
        goal = Goal(5)
        clients = Patient(clock, looks=len(statuses), seconds=seconds)
        watch = Watch(run, clients, goal, RoundTests(run, goal, display), lambda: clock[0], display)
        watch.until_clients_stop(upstream)
    return [line for line in said.getvalue().splitlines() if line.startswith("http:")]


def test_a_server_that_is_away_for_longer_is_told_of_once_and_when_it_is_back(tmp_path: Path) -> None:
    away, back = watched(tmp_path, [200, 200, 502, 502, 502, 502, 200], seconds=6)
    address, _, reason = away.partition(" is away, and waited for: ")
    assert reason
    assert back == f"{address} answers again"


def test_a_server_that_starts_again_is_not_worth_a_line(tmp_path: Path) -> None:
    assert watched(tmp_path, [200, 200, 502, 502, 200], seconds=2) == []


def test_a_round_of_others_is_refused_with_what_to_do_where_the_clients_are(tmp_path: Path) -> None:
    others = make_status({"line": np.zeros(2, np.float32)}, number=1, cohort=("client-7",)).to_json()
    with pytest.raises(StartupError, match="that are not among these 3: client-7; have those"):
        watched(tmp_path, [200], seconds=1, answer=others)
