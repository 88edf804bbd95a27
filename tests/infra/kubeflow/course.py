"""The courses of runs: two that succeed, one of them through the loss of tasks, and others that fail.

Faults are declared here: which task is lost, and when. What must have come of that, `test_kubeflow` says.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.infra.kubeflow.site import WORKFLOW, Seen, Site
from tests.infra.kubeflow.task_processes import client_process, hold, kill_all_of, kill_task_of, runner_process
from tests.infra.programs import CHECKOUT, FEDTIER, Facts

CLIENTS = ("client-0", "client-1")
ROUNDS = 2
RETRIES = 3
"""How often a client's task is tried again."""

_COUNTED, _HELD = CLIENTS


def train_here(task: str, folder: Path) -> dict[int, str]:
    """Train as the pipeline is to, on this machine and with nothing in its way; return each round's SHA-256."""
    words = ["--task", task, "--clients", str(len(CLIENTS)), "--round", str(ROUNDS), "--partition", "iid"]
    command = [FEDTIER, "train", *words, "--run-dir", str(folder / task), "--json"]
    with Facts(command, folder / f"{task}.log", {"FEDTIER_HOME": str(CHECKOUT)}) as training:
        return {fact["round"]: fact["sha256"] for fact in training.finish() if fact["event"] == "published"}


def lose_both_clients(site: Site, seen: Seen) -> None:
    """Kill the tasks of both clients in mid-round: of the one that is counted, and of the one that it waits for."""
    workspace = seen.run.workspace
    for client in CLIENTS:
        site.wait_for(seen, client, functools.partial(client_process, workspace, client))
    with site.status_of_round(seen) as status:
        status.wait_for(lambda fact: (fact.get("newest") or {}).get("round", 0) >= 1)
        held = client_process(workspace, _HELD)
        assert held is not None
        # It stands still, so that the round stays open while the other's task is lost and comes back.
        hold(held)
        status.wait_for(_is_held)
        lost = client_process(workspace, _COUNTED)
        assert lost is not None
        _kill(seen, lost)
        # Its update is sent anew, into the round that has it already.
        site.wait_for(seen, "second answer", lambda: len(_counted(seen, _COUNTED)) == ROUNDS + 1)
        _kill(seen, held)


def lose_for_good(site: Site, seen: Seen) -> None:
    """Kill the task of one client whenever there is one."""
    workspace = seen.run.workspace

    def kill() -> bool:
        found = client_process(workspace, _HELD)
        if found is not None:
            _kill(seen, found)
        return seen.run.is_over

    site.cluster.wait_for("end of the run", kill)


def delete_while_it_starts(site: Site, seen: Seen) -> None:
    """Kill all tasks, so that none tears down, once there is a workload; then have what owns them be gone."""
    site.wait_for(seen, "workload", site.cluster.all_pods)
    runner = runner_process(seen.run.description)
    assert runner is not None
    kill_all_of(runner)
    site.cluster.wait_for("end of the tasks", lambda: seen.run.is_over)
    site.api.collect(WORKFLOW)
    # The volume that tasks share is the Workflow's, too.
    shutil.rmtree(seen.run.workspace)
    site.cluster.wait_for("end of all that was owned", lambda: not site.cluster.all_pods())


def _kill(seen: Seen, process: int) -> None:
    runner = runner_process(seen.run.description)
    assert runner is not None
    kill_task_of(process, runner)


def _counted(seen: Seen, client: str) -> list[dict[str, Any]]:
    return [fact for fact in seen.run.facts("counted") if fact["client_id"] == client]


def _is_held(fact: Mapping[str, Any]) -> bool:
    return (fact.get("counted"), fact.get("state")) == (len(CLIENTS) - 1, "collecting")
