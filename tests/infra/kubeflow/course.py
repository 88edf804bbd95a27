"""The courses of runs: two that succeed, one of them through the loss of tasks, and others that fail.

Faults are declared here: which task is lost, and when. What must have come of that, `test_kubeflow` says.
"""

from __future__ import annotations

import shutil
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
    """Kill the tasks of both clients in the last round: of the one that is counted, and of the one it waits for."""
    # By what the clients themselves tell: the master knows some of it sooner, and some of it later.
    site.wait_for(seen, "training of who is held", lambda: _told(seen, "training", _HELD))
    held = client_process(seen.run.workspace, _HELD)
    assert held is not None
    # It stands still, so that the round stays open while the other's task is lost and comes back.
    hold(held)
    site.wait_for(seen, "count of the other", lambda: _told(seen, "counted", _COUNTED))
    lost = client_process(seen.run.workspace, _COUNTED)
    assert lost is not None
    _kill(seen, lost)
    # Its update is sent anew, into the round that has it already.
    site.wait_for(seen, "second answer", lambda: len(_told(seen, "counted", _COUNTED)) == 2)
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
    site.wait_for(seen, "workload", lambda: [one for one in site.cluster.all_pods() if one.is_made])
    runner = runner_process(seen.run.description)
    assert runner is not None
    kill_all_of(runner)
    site.cluster.wait_for("end of the tasks", lambda: seen.run.is_over)
    # The volume that tasks share is the Workflow's, too.
    shutil.rmtree(seen.run.workspace)
    # More than once: what was asked for when the tasks were killed may be made only now.
    while site.api.left():
        site.api.collect(WORKFLOW)
        site.cluster.wait_for("end of all that was owned", lambda: not site.cluster.all_pods())


def _kill(seen: Seen, process: int) -> None:
    runner = runner_process(seen.run.description)
    assert runner is not None
    kill_task_of(process, runner)


def _told(seen: Seen, event: str, client: str) -> list[dict[str, Any]]:
    """Return what a client told of the last round."""
    return [fact for fact in seen.run.facts(event) if (fact["client_id"], fact["round"]) == (client, ROUNDS)]
