"""What becomes of a run that was submitted: it is run on this machine, in the network of a cluster's pods."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from tests.infra.containers.podman import Podman
from tests.infra.kubeflow.kfp_api import run, task
from tests.infra.kubeflow.local_run import LocalRun
from tests.infra.kubeflow.task_processes import kill_all_of
from tests.infra.kubeflow.tasks import Tasks
from tests.infra.programs import CHECKOUT, environment

_TAIL = 20_000


class Submitted:
    """A course of a run that really takes it, ended with the context where it has not ended before.

    Parameters
    ----------
    podman : Podman
        In whose network.
    folder : Path
        Is made, for all that there is of the run.
    variables : Mapping of str to str
        What its tasks find in their environment.
    """

    def __init__(self, podman: Podman, folder: Path, variables: Mapping[str, str]) -> None:
        self._podman = podman
        self._variables = variables
        self._process: subprocess.Popen[str] | None = None
        self.description = folder / "run.json"
        self.workspace = folder / "workspace"
        self.outputs = folder / "outputs"
        """Where artifacts are left."""

        self.log = folder / "tasks.log"
        self._folder = folder
        folder.mkdir()

    def __enter__(self) -> Submitted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.log.exists():
            error.add_note(self.log.read_text(errors="replace")[-_TAIL:])
        if self._process is not None:
            if self._process.poll() is None:
                kill_all_of(self._process.pid)
            self._process.wait()

    @property
    def is_over(self) -> bool:
        """Whether it was submitted, and has ended."""
        return self._process is not None and self._process.poll() is not None

    def submitted(self, submitted: dict[str, Any]) -> None:
        """Start what was submitted."""
        pipeline = self._folder / "pipeline.yaml"
        whole = submitted["pipeline_spec"]
        parts = [whole[name] for name in ("pipeline_spec", "platform_spec") if name in whole] or [whole]
        pipeline.write_text(yaml.safe_dump_all(parts))
        arguments = submitted["runtime_config"].get("parameters", {})
        LocalRun(str(pipeline), arguments, str(self.workspace), str(self.outputs)).write(self.description)
        temporary = self._folder / "tmp"
        temporary.mkdir()
        # What enters the namespaces is the parent of what it runs there, and is what is ended. Lines are told at once.
        words = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-u", "-m", "tests.infra.kubeflow.local_run"]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                self._podman.inside(*words, str(self.description)),
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                env={**environment(), "PYTHONPATH": str(CHECKOUT), "TMPDIR": str(temporary), **self._variables},
            )

    def look(self) -> dict[str, Any]:
        """Return how the run stands, as the API of Kubeflow Pipelines has it."""
        assert self._process is not None
        status = self._process.poll()
        state = "RUNNING" if status is None else "SUCCEEDED" if status == 0 else "FAILED"
        states = self.tasks().states()
        return run(state, *(task(name, _standing(one, state)) for name, one in states.items()))

    def tasks(self) -> Tasks:
        """Return what became of its tasks so far."""
        tasks = Tasks()
        tasks.read(self.printed().splitlines())
        return tasks

    def printed(self) -> str:
        """Return what all tasks printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def facts(self, event: str) -> list[dict[str, Any]]:
        """Return the facts of a kind that tasks printed so far."""
        return [fact for line in self.printed().splitlines() for fact in _facts(line) if fact.get("event") == event]


def _standing(task_state: str, run_state: str) -> str:
    """Return how a task is shown: one that may be tried again has not failed, and the runner does not log all ends."""
    if run_state == "RUNNING":
        return "RUNNING" if task_state == "FAILED" else task_state
    return run_state if run_state == "SUCCEEDED" else task_state


def _facts(line: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a line; tasks that run side by side may print on one, and the last may not be whole."""
    rest = line.strip()
    while rest.startswith("{"):
        try:
            found, end = json.JSONDecoder().raw_decode(rest)
        except ValueError:
            return
        yield found
        rest = rest[end:].lstrip()
