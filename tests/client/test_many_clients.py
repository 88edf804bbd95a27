from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.options import ClientOptions, Surroundings
from client.run import run_client, run_clients
from client.transport import Outage, Transport
from fedtier.problems import StartupError
from fedtier.upstream import Unreachable, Upstream
from tests.client.federation import Federation
from tests.client.loopback import Reply, Request, serve
from tests.masters import Hasty

ROOT = Path(__file__).parents[2]
INITIAL = {"mean": np.zeros(1, np.float32)}
TASK = "tests.client.numpy_task:ColumnMean"
BROKEN_TASK = """
class Broken:
    def __init__(self, data):
        pass

    def initial_model(self, seed):
        return {}

    def fit(self, arrays, config):
        raise IndexError("no such column")
"""


def clients(folder: Path, server: str, names: list[str], **changed: Any) -> list[ClientOptions]:
    found = []
    for number, name in enumerate(names):
        data = folder / f"{name}.txt"
        data.parent.mkdir(parents=True, exist_ok=True)
        if not data.exists():
            data.write_text("".join(f"{value}\n" for value in range(number + 1)))
        chosen = {"task": TASK, "wait": 30.0, "retry_budget": 30.0, **changed}
        state_dir = folder / "state" / name
        found.append(ClientOptions(server=server, client_id=name, data=data, state_dir=state_dir, **chosen))
    return found


def finished(facts: list[Mapping[str, Any]]) -> dict[str, bool]:
    return {fact["client_id"]: fact["ok"] for fact in facts if fact["event"] == "finished"}


def test_clients_that_share_a_process_send_what_they_send_from_processes_of_their_own(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    together = Federation(INITIAL, tmp_path, threshold=3, final_round=3)
    with serve(together) as url:
        assert run_clients(clients(tmp_path / "together", url, names)) == 0

    apart = Federation(INITIAL, tmp_path, threshold=3, final_round=3)
    with serve(apart) as url:
        threads = [
            threading.Thread(target=run_client, args=[options]) for options in clients(tmp_path / "apart", url, names)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(together.trained) == sorted(apart.trained)
    assert [model["mean"].tobytes() for model in together.models] == [model["mean"].tobytes() for model in apart.models]


def test_who_is_not_selected_asks_for_rounds_and_for_nothing_else(tmp_path: Path) -> None:
    federation = Federation(INITIAL, tmp_path, threshold=1, final_round=2, cohort=("b",))
    asked: Counter[str] = Counter()

    def answer(request: Request) -> Reply:
        asked[request.path] += 1
        return federation(request)

    with serve(answer) as url:
        assert run_clients(clients(tmp_path, url, ["a", "b", "c"])) == 0

    assert [client_id for _, client_id, _ in federation.trained] == ["b", "b"]
    assert asked["/v1/rounds/0/model"] == asked["/v1/rounds/1/model"] == 1
    assert list((tmp_path / "state" / "a").iterdir()) == []


@pytest.mark.parametrize("reason", ["its update is not finite", "its task raises"])
def test_a_client_that_fails_does_not_stop_the_others(tmp_path: Path, reason: str) -> None:
    facts: list[Mapping[str, Any]] = []
    federation = Federation(INITIAL, tmp_path, threshold=2, final_round=3)
    with serve(federation) as url:
        good = clients(tmp_path, url, ["a", "b"], report=facts.append)
        if reason == "its task raises":
            (tmp_path / "broken.py").write_text(BROKEN_TASK)
            bad = clients(tmp_path, url, ["bad"], report=facts.append, task=f"{tmp_path / 'broken.py'}:Broken")
        else:
            (tmp_path / "bad.txt").write_text("1\nnan\n")
            bad = clients(tmp_path, url, ["bad"], report=facts.append)
        assert run_clients([*bad, *good]) == 1

    assert finished(facts) == {"bad": False, "a": True, "b": True}
    assert {(number, client_id) for number, client_id, _ in federation.trained} == {
        (number, client_id) for number in (1, 2, 3) for client_id in "ab"
    }


class Enough(BaseException):
    pass


def test_many_clients_poll_in_turn_each_at_the_pace_the_server_sets(tmp_path: Path) -> None:
    now, slept = [0.0], [0]
    polls: Counter[str] = Counter()
    federation = Federation(INITIAL, tmp_path, threshold=99, final_round=1, cohort=("somebody-else",))

    def sleep(seconds: float) -> None:
        now[0] += seconds
        slept[0] += 1
        if slept[0] == 160:
            raise Enough

    def answer(request: Request) -> Reply:
        polls[request.headers["Authorization"]] += 1
        return federation(request)

    with serve(answer) as url:
        together = [
            options
            for name in ("a", "b", "c", "d")
            for options in clients(tmp_path, url, [name], token=partial(str, f"token-of-{name}"))
        ]
        with pytest.raises(Enough):
            run_clients(together, Surroundings(sleep=sleep, clock=lambda: now[0], rng=random.Random(1)))

    # Four clients, each about every 0.01 s of the clock's own time.
    assert len(polls) == 4
    assert all(0.75 < number * 0.01 / now[0] < 1.25 for number in polls.values())


def test_a_server_that_is_lost_is_waited_for_once_and_not_once_per_client() -> None:
    now, requests = [0.0], [0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    def answer(_: Request) -> Reply:
        requests[0] += 1
        return Reply(0)

    with serve(answer) as url, Upstream(url) as upstream:
        outage = Outage()
        one, other = (
            Transport(upstream, name, rng=Hasty(), retry_budget=8.0, clock=clock, outage=outage)
            for name in ("one", "other")
        )
        with pytest.raises(Unreachable):
            one.round_status()
        tries = requests[0]
        with pytest.raises(Unreachable):
            other.round_status()

    assert tries > 2
    assert requests[0] == tries + 1


def test_a_server_that_is_back_is_given_the_whole_wait_again(tmp_path: Path) -> None:
    federation = Federation(INITIAL, tmp_path, threshold=1, final_round=1)
    replies: list[Reply | None] = [Reply(0), None]

    with serve(lambda request: (replies.pop(0) if replies else None) or federation(request)) as url:
        outage = Outage()
        Transport(Upstream(url), "one", rng=random.Random(1), outage=outage).round_status()

    assert outage.since is None


def test_two_clients_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="--client-id a is given twice; give each client its own"):
        run_clients(clients(tmp_path, "http://127.0.0.1:1", ["a", "b", "a"]))


TALKATIVE_TASK = """
import json
from tests.client.numpy_task import ColumnMean

class Talkative(ColumnMean):
    def fit(self, arrays, config):
        print(json.dumps({"event": "finished", "ok": False}))
        return super().fit(arrays, config)
"""


def call(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "client", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_one_call_plays_several_clients_each_with_a_folder_of_its_own(tmp_path: Path) -> None:
    federation = Federation(INITIAL, tmp_path, threshold=2, final_round=1)
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("1\n")
    task = ROOT / "tests" / "client" / "numpy_task.py"
    with serve(federation) as url:
        ended = call(
            *("--server", url, "--task", f"{task}:ColumnMean", "--json"),
            *("--client-id", "a", "--data", "a.txt", "--client-id", "b", "--data", "b.txt"),
            cwd=tmp_path,
        )

    assert ended.returncode == 0, ended.stderr
    assert sorted(client_id for _, client_id, _ in federation.trained) == ["a", "b"]
    assert sorted(path.name for path in (tmp_path / ".fedtier").iterdir()) == ["a", "b"]


def test_what_a_task_prints_does_not_pass_for_a_fact(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\n")
    (tmp_path / "talkative.py").write_text(TALKATIVE_TASK)
    with serve(Federation(INITIAL, tmp_path, threshold=1, final_round=1)) as url:
        task = "talkative.py:Talkative"
        ended = call("--server", url, "--task", task, "--client-id", "a", "--data", "a.txt", "--json", cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    facts = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [fact["event"] for fact in facts] == ["training", "trained", "counted", "finished"]
    assert facts[-1]["ok"] is True
    assert '{"event": "finished", "ok": false}' in ended.stderr


def test_a_client_without_data_of_its_own_is_one_clear_sentence(tmp_path: Path) -> None:
    ended = call(
        "--server", "http://127.0.0.1:1", "--client-id", "a", "--data", "a.txt", "--client-id", "b", cwd=tmp_path
    )
    assert ended.returncode == 1
    assert "there are 2 --client-id but 1 --data; give one --data for each --client-id" in ended.stderr
