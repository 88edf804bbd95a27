from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from client.options import ClientOptions, Surroundings
from client.run import run_client
from fedtier.problems import StartupError, Unauthenticated
from tests.client.federation import Federation
from tests.client.loopback import Reply, Request, problem_reply, serve

ROOT = Path(__file__).parents[2]
INITIAL = {"mean": np.zeros(1, np.float32)}


class Facts(list[dict[str, Any]]):
    """Collects what a client reports, and calls `on` when the named event comes for the first time."""

    def __init__(self, **on: Callable[[], None]) -> None:
        super().__init__()
        self._on = on

    def __call__(self, fact: Mapping[str, Any]) -> None:
        self.append(dict(fact))
        self._on.pop(fact["event"], lambda: None)()

    def events(self) -> list[tuple[str, int]]:
        return [(fact["event"], fact["round"]) for fact in self]


class Killed(BaseException):
    pass


def kill() -> None:
    raise Killed


def options(tmp_path: Path, server: str, *, client_id: str = "client-3", **changed: Any) -> ClientOptions:
    data = tmp_path / f"{client_id}.txt"
    if not data.exists():
        data.write_text("1\n3\n")
    chosen = {"task": "tests.client.numpy_task:ColumnMean", "wait": 30.0, "retry_budget": 30.0, **changed}
    return ClientOptions(
        server=server, client_id=client_id, data=data, state_dir=tmp_path / f"state-{client_id}", **chosen
    )


def test_a_client_goes_on_until_the_federation_is_finished(tmp_path: Path) -> None:
    federation, facts = Federation(INITIAL, tmp_path, threshold=1, final_round=2), Facts()
    with serve(federation) as url:
        assert run_client(options(tmp_path, url, report=facts)) == 0

    assert [number for number, _, _ in federation.trained] == [1, 2]
    assert federation.models[-1]["mean"] == 2
    per_round = ["training", "trained", "counted"]
    assert facts.events() == [(e, 1) for e in per_round] + [(e, 2) for e in per_round] + [("finished", 2)]
    counted = facts[2]
    assert (counted["client_id"], counted["attempt"], counted["num_examples"]) == ("client-3", 1, 2)
    assert counted["metrics"] == {"loss": 2.0}
    assert counted["seconds"] >= 0


def test_clients_are_averaged_by_their_examples(tmp_path: Path) -> None:
    (tmp_path / "client-1.txt").write_text("8\n8\n8\n8\n8\n8\n")
    federation = Federation(INITIAL, tmp_path, threshold=2, final_round=1)
    with serve(federation) as url:
        other = threading.Thread(target=run_client, args=[options(tmp_path, url, client_id="client-1")])
        other.start()
        try:
            assert run_client(options(tmp_path, url)) == 0
        finally:
            other.join()

    assert federation.models[-1]["mean"] == (2 * 2 + 6 * 8) / 8


def test_a_client_stops_at_the_last_round_it_was_told_and_says_when_it_was_there_already(tmp_path: Path) -> None:
    federation, facts = Federation(INITIAL, tmp_path, threshold=1, final_round=9), Facts()
    with serve(federation) as url:
        assert run_client(options(tmp_path, url, rounds=1)) == 0
        assert run_client(options(tmp_path, url, rounds=1, report=facts)) == 0

    assert len(federation.trained) == 1
    assert facts.events() == [("finished", 1)]
    assert facts[0]["ok"] is True
    assert "already" in facts[0]["detail"]


def test_a_client_killed_between_training_and_sending_sends_what_it_had_trained(tmp_path: Path) -> None:
    federation, facts = Federation(INITIAL, tmp_path, threshold=1, final_round=1), Facts()
    with serve(federation) as url:
        with pytest.raises(Killed):
            run_client(options(tmp_path, url, report=Facts(trained=kill)))
        assert federation.trained == []
        assert run_client(options(tmp_path, url, report=facts)) == 0

    assert len(federation.trained) == 1
    assert facts.events() == [("counted", 1), ("finished", 1)]


def test_a_round_that_starts_over_gets_the_same_update_again(tmp_path: Path) -> None:
    federation = Federation(INITIAL, tmp_path, threshold=2, final_round=1)
    facts = Facts()

    def report(fact: Mapping[str, Any]) -> None:
        facts(fact)
        if fact["event"] == "counted":
            federation.start_over() if fact["attempt"] == 1 else kill()

    with serve(federation) as url, pytest.raises(Killed):
        run_client(options(tmp_path, url, report=report))

    assert len(federation.trained) == 2
    assert len(set(federation.trained)) == 1
    assert facts.events() == [("training", 1), ("trained", 1), ("counted", 1), ("counted", 1)]


def test_nothing_is_left_on_disk_when_the_last_round_is_settled_but_its_model(tmp_path: Path) -> None:
    with serve(Federation(INITIAL, tmp_path, threshold=1, final_round=2)) as url:
        run_client(options(tmp_path, url))

    assert [path.name.partition("-")[0] for path in (tmp_path / "state-client-3").iterdir()] == ["model"]


def test_a_client_that_trains_round_after_round_writes_each_update_over_the_last_that_counted(tmp_path: Path) -> None:
    files: list[BinaryIO] = []

    def report(fact: Mapping[str, Any]) -> None:
        if fact["event"] == "trained":
            (path,) = (tmp_path / "state-client-3").glob("update-*")
            files.append(held.enter_context(path.open("rb")))  # or its number could become that of another file

    with serve(Federation(INITIAL, tmp_path, threshold=1, final_round=3)) as url, ExitStack() as held:
        assert run_client(options(tmp_path, url, report=report)) == 0
        inodes = [os.fstat(file.fileno()).st_ino for file in files]

    assert inodes == inodes[:1] * 3


def test_a_client_that_waits_for_rounds_of_others_keeps_no_file_of_an_update_that_is_settled(tmp_path: Path) -> None:
    federation = Federation(INITIAL, tmp_path, threshold=1, final_round=9)
    waits: list[list[str]] = []

    def sleep(_: float) -> None:
        waits.append(sorted(path.name.partition("-")[0] for path in (tmp_path / "state-client-3").iterdir()))
        if len(waits) == 3:
            kill()

    def rest() -> None:
        federation.cohort = ("another",)

    with serve(federation) as url, pytest.raises(Killed):
        run_client(options(tmp_path, url, report=Facts(counted=rest)), Surroundings(sleep=sleep))

    assert waits == [["model", "update"], ["model"], ["model"]]


def test_a_diverged_task_ends_the_client_with_the_tensor_s_name_and_sends_nothing(tmp_path: Path) -> None:
    federation, facts = Federation(INITIAL, tmp_path, threshold=1, final_round=1), Facts()
    (tmp_path / "client-3.txt").write_text("1\nnan\n")
    with serve(federation) as url:
        assert run_client(options(tmp_path, url, report=facts)) == 1

    assert federation.trained == []
    assert "'mean'" in facts[-1]["detail"]
    assert facts[-1]["ok"] is False


def test_polls_of_many_clients_are_spread_around_the_pace_the_server_sets(tmp_path: Path) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 200:
            raise Killed

    federation = Federation(INITIAL, tmp_path, threshold=2, final_round=1)
    # On a clock that only sleep moves, or the time that the polls themselves take would shorten the pauses.
    surroundings = Surroundings(sleep=sleep, clock=lambda: sum(slept), rng=random.Random(1))
    with serve(federation) as url, pytest.raises(Killed):
        run_client(options(tmp_path, url), surroundings)

    assert 0.005 <= min(slept) + 1e-9 < 0.006
    assert 0.014 < max(slept) - 1e-9 <= 0.015


def test_a_client_without_a_token_ends_with_the_server_s_sentence(tmp_path: Path) -> None:
    facts = Facts()
    with serve(lambda _: problem_reply(Unauthenticated("present a token in FEDTIER_TOKEN"))) as url:
        assert run_client(options(tmp_path, url, report=facts)) == 1

    assert facts.events() == [("finished", 0)]
    assert facts[0]["detail"] == "present a token in FEDTIER_TOKEN"


def test_a_token_is_presented_and_not_printed(tmp_path: Path) -> None:
    seen: list[str | None] = []

    def answer(request: Request) -> Reply:
        seen.append(request.headers.get("Authorization"))
        return problem_reply(Unauthenticated("no"))

    with serve(answer) as url:
        chosen = options(tmp_path, url, token=lambda: "secret-token")
        run_client(chosen)
    assert seen == ["Bearer secret-token"]
    assert "secret-token" not in repr(chosen)


def test_a_server_that_is_lost_on_the_way_ends_the_client_and_keeps_its_update(tmp_path: Path) -> None:
    federation, facts = Federation(INITIAL, tmp_path, threshold=1, final_round=1), Facts()

    def answer(request: Request) -> Reply:
        return Reply(0) if request.method == "PUT" else federation(request)

    with serve(answer) as url:
        assert run_client(options(tmp_path, url, report=facts, retry_budget=0.0)) == 1

    assert url in facts[-1]["detail"]
    assert list((tmp_path / "state-client-3").glob("update-1-*.safetensors"))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"client_id": "no/slash"}, "'no/slash'"),
        ({"server": "localhost:5001"}, "http://host:port"),
        ({"server": "ftp://host"}, "'ftp://host'"),
        ({"server": "http://[::1"}, "'http://[::1'"),
        ({"epochs": 0}, "--epoch is 0"),
        ({"rounds": -1}, "--rounds is -1"),
        ({"wait": -1.0}, "--wait is -1"),
        ({"wait": float("nan")}, "--wait is nan"),
        ({"task": "nope"}, "'nope'"),
        ({"state_dir": Path(__file__)}, "state directory"),
        ({"task": "mnist_cnn", "data": Path("missing.safetensors")}, "missing.safetensors does not exist"),
    ],
)
def test_an_option_that_cannot_be_is_one_clear_sentence(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    usual: dict[str, Any] = {
        "server": "http://127.0.0.1:1",
        "client_id": "client-3",
        "data": tmp_path,
        "state_dir": tmp_path / "state",
    }
    with pytest.raises(StartupError) as caught:
        run_client(ClientOptions(**usual | changed))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


WITHOUT_TORCH = """
import sys
from pathlib import Path
for name in ("torch", "flask", "boto3"):
    sys.modules[name] = None
from client.options import ClientOptions
from client.run import run_client
server, data, state_dir = sys.argv[1:]
sys.exit(run_client(ClientOptions(
    server=server, client_id="client-3", data=Path(data), state_dir=Path(state_dir),
    task="tests/client/numpy_task.py:ColumnMean", wait=30.0,
)))
"""


def test_a_numpy_task_takes_part_where_there_is_no_torch_flask_or_boto3(tmp_path: Path) -> None:
    federation = Federation(INITIAL, tmp_path, threshold=1, final_round=2)
    data = tmp_path / "numbers.txt"
    data.write_text("1\n3\n")
    with serve(federation) as url:
        ended = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, url, str(data), str(tmp_path / "state")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert ended.returncode == 0, ended.stderr
    assert len(federation.trained) == 2
    assert federation.models[-1]["mean"] == 2
