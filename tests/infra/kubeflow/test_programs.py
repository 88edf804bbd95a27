from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.kubeflow.steps.programs import ProgramFailed, run_fedtier
from tests.fedtier_cli import runs
from tests.infra.kubeflow.calls import PATIENCE, await_in, running

_WAITING = """
import os, sys
from infra.kubeflow.steps.programs import ProgramFailed, run_fedtier
try:
    run_fedtier(
        *("client", "--server", "http://127.0.0.1:9", "--client-id", "client-0", "--data", sys.argv[1]),
        *("--task", sys.argv[2], "--state-dir", sys.argv[3], "--stopped-status", "143"), variables={}
    )
except ProgramFailed as failed:
    print("status", failed.status)
"""
"""A client of a server that is not there, for which it waits."""


@contextmanager
def waiting(folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client that waits for its server."""
    data = runs.write_points(folder / "data", clients=1) / "client-0.csv"
    with running(_WAITING, str(data), runs.TASK, str(folder / "state"), log=log) as process:
        await_in(log, lambda: process.poll() is not None or "trying again" in log.read_text())
        assert process.poll() is None, log.read_text()
        yield process


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def test_facts_are_returned_and_all_that_is_printed_is_in_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    facts = run_fedtier("keygen", str(tmp_path / "keys"), variables={})

    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == facts != []


def test_facts_that_the_log_has_already_are_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    facts = run_fedtier("keygen", str(tmp_path / "keys"), variables={}, show_facts=False)

    assert facts
    assert capfd.readouterr().out == ""


def test_a_failure_names_the_command_its_status_and_what_it_said_last(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        ProgramFailed, match=r"(?s)^fedtier rounds ended with status 2; it said at last:.*--last"
    ) as failed:
        run_fedtier("rounds", "--last", "\x1b[31mnone", variables={})

    assert failed.value.status == 2
    said = str(failed.value)
    assert "\\x1b[31mnone" in said
    assert "\x1b" not in said + capfd.readouterr().err


def test_settings_meant_for_another_fedtier_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDTIER_CLIENTS", "7")
    monkeypatch.setenv("FEDTIER_HOME", "/nowhere")

    facts = run_fedtier(
        *("split", "--dataset", "tabular", "--saved-dir", str(tmp_path), "--no-picture"),
        variables={"FEDTIER_CLIENTS": "3"},
    )

    assert [fact["client"] for fact in facts if fact["event"] == "shard"] == ["client-0", "client-1", "client-2"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_command_ends_in_its_own_way(number: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with waiting(tmp_path, log) as process:
        process.send_signal(number)

        assert process.wait(PATIENCE) == 0, log.read_text()
    assert f"status {143 if number == signal.SIGTERM else 130}" in log.read_text()


def test_a_command_ends_with_a_task_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with waiting(tmp_path, log) as process:
        [child] = children_of(process)
        os.kill(process.pid, signal.SIGKILL)

        assert runs.await_end([child])
