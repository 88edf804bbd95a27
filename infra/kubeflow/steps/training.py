"""One client of a run: trains on its shard for every round, and ends with the federation."""

from __future__ import annotations

import signal
from typing import Final

from fedtier.token_sources import TOKEN_FILE
from infra.kubeflow.steps.programs import ProgramFailed, run_fedtier
from infra.kubeflow.steps.results import Place, newest_round
from infra.kubeflow.steps.workspace import Workspace

_WAIT: Final = 600
"""Seconds that the servers may take to be there: they were a moment ago."""
_RETRY_BUDGET: Final = 1800
"""Seconds; a node that is lost keeps an aggregator away for some ten minutes."""
_STOPPED: Final = 143
"""Status of a client that is told to stop: a task that is moved is not done."""


class ClientFailed(Exception):
    """A client did not reach the end of the federation; the sentence says why."""


def train(workspace: Workspace, *, client_id: str, server: str, place: Place, task: str, seed: int) -> int:
    """Take part in every round, and return how many this try was counted in.

    What it trained last lies in the workspace until its round is settled. A second try sends that, and does not train
    for the round again. A try that comes when the federation is over, and its master with it, is good if the client is
    in the last round.

    Parameters
    ----------
    workspace : Workspace
        With the client's shard, its token and the authority's certificate.
    client_id : str
    server : str
        Address of the worker aggregators.
    place : Place
        Where the rounds are published.
    task : str
    seed : int
        Of the training.

    Raises
    ------
    ClientFailed
        It was told to stop, cannot go on, or comes too late.
    ProgramFailed
        It comes late, and S3 cannot be asked whether it was counted.
    ValueError
        It is no client's id.
    """
    if workspace.finished.exists():
        return _late(workspace, client_id, place)
    try:
        facts = run_fedtier(
            *("client", "--server", server, "--client-id", client_id, "--task", task, "--seed", str(seed)),
            *("--data", str(workspace.shard(client_id)), "--state-dir", str(workspace.state(client_id))),
            *("--ca-certs", str(workspace.authority), "--stopped-status", str(_STOPPED)),
            *("--wait", str(_WAIT), "--retry-budget", str(_RETRY_BUDGET)),
            # As many threads as tests and runs on one machine have, so that the bytes of a model do not depend on the
            # machine.
            variables={TOKEN_FILE: str(workspace.client_token(client_id)), "OMP_NUM_THREADS": "1"},
            show_facts=False,
        )
    except ProgramFailed as failed:
        raise ClientFailed(_reason(client_id, failed)) from failed
    workspace.finished.touch()
    return len({fact["round"] for fact in facts if fact.get("event") == "counted"})


def _late(workspace: Workspace, client_id: str, place: Place) -> int:
    """Return that nothing is left to be counted, unless the last round lacks this client."""
    newest = newest_round(workspace, place)
    if client_id not in {one["client_id"] for one in newest["manifest"]["contributors"]}:
        raise ClientFailed(
            f"{client_id} comes too late: the federation is finished, and round {newest['round']}, its last, has no "
            "update of this client"
        )
    print(f"the federation is finished, and {client_id} is in round {newest['round']}, its last", flush=True)
    return 0


def _reason(client_id: str, failed: ProgramFailed) -> str:
    said = [fact["detail"] for fact in failed.facts if fact.get("event") == "finished"]
    if failed.status in {_STOPPED, -signal.SIGTERM}:  # the latter while it had barely begun
        return f"{client_id} was told to stop before the federation was finished; the next try goes on"
    return f"{client_id} cannot go on: {said[-1]}" if said else f"{client_id} cannot go on: {failed}"
