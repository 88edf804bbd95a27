"""A client that runs out of time or room ends with a sentence, and what it has trained is not lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from client.command import client
from fedtier.problems import SlowDown, Unavailable
from tests.client.federation import Federation, model_bytes
from tests.client.loopback import Reply, Request, problem_reply, serve

ROOT = Path(__file__).parents[2]
MANY = 1 << 16
INITIAL = {"mean": np.zeros(1, np.float32)}
LARGE = {"mean": np.zeros(1, np.float32), "ballast": np.zeros(MANY, np.float32)}
NEEDED = ["--server", "http://127.0.0.1:1", "--client-id", "a", "--data", "a"]
TASK = """
import numpy as np
from tests.client.numpy_task import ColumnMean

class Task(ColumnMean):
    def fit(self, arrays, config):
        with open("fits", "a") as fits:
            fits.write("one\\n")
        mean, examples, metrics = super().fit(arrays, config)
        return {**arrays, **mean}, examples, metrics
"""
CALL = """
import resource, sys
limit = int(sys.argv.pop(1))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from client.command import client
client(prog_name="fedtier client")
"""


def start(
    folder: Path, url: str, *flags: str, largest_file: int = 0, variables: Mapping[str, str] | None = None
) -> tuple[int, list[dict[str, Any]], str]:
    """Run a client until it ends by itself; return its status, its facts and its log."""
    (folder / "task.py").write_text(TASK)
    (folder / "a.txt").write_text("1\n3\n")
    usual = ("--server", url, "--client-id", "a", "--data", "a.txt", "--task", "task.py:Task", "--json")
    ended = subprocess.run(
        [sys.executable, "-c", CALL, str(largest_file), *usual, *flags],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(variables or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr


def fits(folder: Path) -> int:
    return len((folder / "fits").read_text().splitlines())


@pytest.mark.parametrize(
    ("refusal", "variables", "says"),
    [
        (Reply(0), {"FEDTIER_RETRY_BUDGET": "0"}, "does not answer: "),
        (
            problem_reply(Unavailable("full")),
            {"FEDTIER_RETRY_BUDGET": "0"},
            "puts this off: full, and --retry-budget 0",
        ),
        (
            problem_reply(SlowDown("slow"), Retry_After="3600"),
            {},
            "puts this off for 3600 s: slow, and --retry-budget 600",
        ),
    ],
)
def test_a_spent_budget_ends_an_upload_and_the_next_start_sends_it_without_training(
    tmp_path: Path, refusal: Reply, variables: Mapping[str, str], says: str
) -> None:
    federation = Federation(INITIAL, tmp_path, threshold=1, final_round=1)

    def refuse_uploads(request: Request) -> Reply:
        return refusal if request.method == "PUT" else federation(request)

    with serve(refuse_uploads) as url:
        status, facts, log = start(tmp_path, url, variables=variables)
    assert (status, [fact["event"] for fact in facts]) == (1, ["training", "trained", "finished"])
    assert says in facts[-1]["detail"]
    assert facts[-1]["detail"].endswith(
        "; the update of round 1 stays on disk, and the next start sends it if its round is still open"
    )
    assert says in log

    with serve(federation) as url:
        status, facts, _ = start(tmp_path, url)
    assert (status, [fact["event"] for fact in facts]) == (0, ["counted", "finished"])
    assert (fits(tmp_path), len(federation.trained)) == (1, 1)


def test_an_update_that_finds_no_room_ends_the_client_with_a_sentence_and_leaves_nothing_broken(tmp_path: Path) -> None:
    federation = Federation(LARGE, tmp_path, threshold=1, final_round=1)
    with serve(federation) as url:
        # The model fits; the update, which has metadata of its own, is a little larger.
        status, facts, _ = start(tmp_path, url, largest_file=len(model_bytes(LARGE)))
        assert (status, [fact["event"] for fact in facts]) == (1, ["training", "finished"])
        assert "the state directory .fedtier/a cannot be used: [Errno 27] File too large" in facts[-1]["detail"]
        assert federation.trained == []

        status, facts, _ = start(tmp_path, url)
    assert (status, facts[-1]["ok"], len(federation.trained)) == (0, True, 1)


@pytest.mark.parametrize("state_dir", ["/proc", "/proc/nowhere", "a.txt"])
def test_a_state_directory_that_cannot_be_written_is_noticed_before_any_training(
    tmp_path: Path, state_dir: str
) -> None:
    with serve(Federation(INITIAL, tmp_path, threshold=1, final_round=1)) as url:
        status, facts, log = start(tmp_path, url, "--state-dir", state_dir)
    assert (status, facts) == (1, [])
    assert f"Error: the state directory {state_dir} cannot be used: " in log
    assert not (tmp_path / "fits").exists()


def test_budget_and_grace_are_flags_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(*flags: str) -> tuple[float, int]:
        chosen = client.make_context("client", [*NEEDED, *flags]).params
        return chosen["retry_budget"], chosen["grace"]

    assert parsed() == (600.0, 30)
    assert parsed("--retry-budget", "7.5", "--grace", "3") == (7.5, 3)
    assert parsed("--retry_budget", "7.5") == (7.5, 30)
    monkeypatch.setenv("FEDTIER_RETRY_BUDGET", "8")
    monkeypatch.setenv("FEDTIER_GRACE", "4")
    assert parsed() == (8.0, 4)


@pytest.mark.parametrize("flags", [("--retry-budget", "-1"), ("--retry-budget", "nan"), ("--grace", "-1")])
def test_a_budget_or_grace_that_cannot_be_is_named(flags: tuple[str, str]) -> None:
    with pytest.raises(click.BadParameter, match=flags[1]):
        client.make_context("client", [*NEEDED, *flags])
