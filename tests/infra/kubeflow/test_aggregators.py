"""Aggregators are started in order, by a process that finds its cluster as a task does; a failure leaves no riddle."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pytest

from infra.kubeflow.steps.server_secrets import secret_names
from infra.kubeflow.steps.workspace import Workspace
from tests.infra.kubeflow.runs import RUN, RUN_ID, settings
from tests.infra.kubeflow.scripted import NAMESPACE, Script
from tests.infra.kubeflow.serving import listening
from tests.infra.programs import CHECKOUT

_TASK: Final = """
import json, sys
from pathlib import Path
from infra.kubeflow.steps import aggregators
from infra.kubeflow.steps.objects import RunSettings
from infra.kubeflow.steps.workspace import Workspace
what, given, root = sys.argv[1:]
if what == "start":
    aggregators.start(RunSettings(**json.loads(given)), Workspace(Path(root)))
else:
    removed = aggregators.tear_down(json.loads(given), Workspace(Path(root)))
    print("said:", json.dumps(removed))
"""
_NEVER: Final = {"name": "s3", "ready": False, "state": {"waiting": {"reason": "InvalidImageName", "message": "a b"}}}
_OWNER: Final = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "federation-x", "uid": "u-1"}


@pytest.fixture
def script() -> Script:
    """An API where no image is ever pulled, and that knows the pod of the task."""
    found = Script(status_of=lambda labels: {"phase": "Pending", "containerStatuses": [_NEVER]})
    owners = [_OWNER | {"controller": True, "blockOwnerDeletion": True}]
    found.held["pods", "task"] = {"metadata": {"name": "task", "ownerReferences": owners}}
    return found


class Task:
    """Runs tasks, each as a process of its own.

    Parameters
    ----------
    folder : Path
        With the kubeconfig, and the workspace.
    """

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder / "workspace")
        self.temporary = folder / "temporary"
        self._kubeconfig = folder / "kubeconfig"

    def start(self, *, pod: str = "task") -> subprocess.CompletedProcess[str]:
        return self._run("start", asdict(settings()), {"KFP_POD_NAME": pod} if pod else {})

    def tear_down(self) -> list[str]:
        done = self._run("tear_down", RUN_ID, {})
        assert done.returncode == 0, done.stderr
        (said,) = (line for line in done.stdout.splitlines() if line.startswith("said:"))
        removed: list[str] = json.loads(said.removeprefix("said:"))
        return removed

    def _run(self, what: str, given: Any, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        self.temporary.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KFP_")}
        surroundings = {"KUBECONFIG": str(self._kubeconfig), "PYTHONPATH": str(CHECKOUT), "TMPDIR": str(self.temporary)}
        return subprocess.run(
            [sys.executable, "-c", _TASK, what, json.dumps(given), str(self.workspace.root)],
            env=kept | surroundings | variables,
            capture_output=True,
            text=True,
            check=False,
        )


@contextlib.contextmanager
def tasks(script: Script, folder: Path) -> Iterator[Task]:
    with listening(script, contextlib.nullcontext(), folder / "kubeconfig", NAMESPACE):
        yield Task(folder)


def test_a_start_that_cannot_be_says_which_pod_and_why(script: Script, tmp_path: Path) -> None:
    with tasks(script, tmp_path) as task:
        done = task.start()
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith(f"StartupError: pod {RUN}-s3-0, container s3: InvalidImageName (a b)")


def test_services_are_made_first_and_servers_last(script: Script, tmp_path: Path) -> None:
    with tasks(script, tmp_path) as task:
        task.start()
    made = [resource for verb, _, resource in script.asked if verb == "create"]
    assert [resource for resource, _ in groupby(made)] == [
        *("services", "networkpolicies", "secrets", "configmaps", "persistentvolumeclaims", "deployments"),
    ]
    assert made.count("deployments") == 1  # without S3 there is no master


def test_all_that_is_made_goes_with_the_run(script: Script, tmp_path: Path) -> None:
    with tasks(script, tmp_path) as task:
        task.start()
    made = [one for (resource, _), one in script.held.items() if resource != "pods"]
    assert len(made) > 10
    assert {json.dumps(one["metadata"]["ownerReferences"]) for one in made} == {json.dumps([_OWNER])}


def test_outside_of_kubeflow_nothing_has_an_owner(script: Script, tmp_path: Path) -> None:
    with tasks(script, tmp_path) as task:
        task.start(pod="")
    made = [one for (resource, _), one in script.held.items() if resource != "pods"]
    assert len(made) > 10
    assert not [one for one in made if "ownerReferences" in one["metadata"]]


def test_keys_that_sign_are_gone_before_a_server_starts(script: Script, tmp_path: Path) -> None:
    looks: list[list[Path]] = []

    def look(_: object) -> dict[str, Any]:
        looks.append(list(tmp_path.rglob("*-key.pem")))
        return {"phase": "Pending", "containerStatuses": [_NEVER]}

    script.status_of = look
    with tasks(script, tmp_path) as task:
        task.start()
        assert task.workspace.authority.exists()
    assert looks == [[]], "one server was started, S3"
    assert list(task.temporary.iterdir()) == []


def test_a_second_try_begins_by_removing_what_the_first_left(script: Script, tmp_path: Path) -> None:
    with tasks(script, tmp_path) as task:
        task.start()
        first = {name: one for (resource, name), one in script.held.items() if resource == "secrets"}
        token = task.workspace.client_token("client-0").read_text()
        script.asked.clear()
        task.start()
        second = {name: one for (resource, name), one in script.held.items() if resource == "secrets"}
        assert task.workspace.client_token("client-0").read_text() != token
    verbs = [verb for verb, _, _ in script.asked if verb in {"create", "delete"}]
    assert [verb for verb, _ in groupby(verbs)] == ["delete", "create"]
    assert first.keys() == second.keys() == set(secret_names(RUN))
    assert not [name for name in first if first[name]["data"] == second[name]["data"]]


def test_tearing_down_leaves_nothing_in_the_cluster_and_no_secret_in_the_workspace(
    script: Script, tmp_path: Path
) -> None:
    with tasks(script, tmp_path) as task:
        task.start()
        task.workspace.shards.mkdir()
        removed = task.tear_down()
        assert script.left == ["pods/task"]
        assert not task.workspace.access.exists()
        assert task.workspace.shards.exists()
        assert {"tokens and credentials in the workspace", f"Deployment {RUN}-s3", f"Pod {RUN}-s3-0"} <= set(removed)
        assert task.tear_down() == []


def test_a_workspace_that_is_in_trouble_keeps_nothing_in_the_cluster(script: Script, tmp_path: Path) -> None:
    with tasks(script, tmp_path) as task:
        task.start()
        shutil.rmtree(task.workspace.access)
        task.workspace.access.write_text("a folder no more")
        with pytest.raises(AssertionError, match="NotADirectoryError"):
            task.tear_down()
    assert script.left == ["pods/task"]
