"""``fedtier train`` on this machine: a run with servers and clients of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fedtier.upstream import Upstream
from fedtier_cli.directions import Calls
from fedtier_cli.display import Display
from fedtier_cli.evaluation import RoundScore
from fedtier_cli.goal import Goal
from fedtier_cli.local import LocalOptions, LocalRun, prepared, start_servers
from fedtier_cli.local_clients import ClientCall, LocalClients, start_clients
from fedtier_cli.processes import Event, status_in_words
from fedtier_cli.seaweed import HOST
from fedtier_cli.tiers import shared_port
from fedtier_cli.training import follow, train_towards
from fedtier_cli.training_run import Surroundings


def train(options: LocalOptions, goal: Goal, surroundings: Surroundings, display: Display, calls: Calls) -> int:
    """Train until a goal is reached.

    Parameters
    ----------
    options : LocalOptions
    goal : Goal
    surroundings : Surroundings
    display : Display
    calls : Calls

    Returns
    -------
    int
        Exit status: 0, or `fedtier_cli.training.TARGET_MISSED`.

    Raises
    ------
    StartupError
        It cannot start.
    RunFailed
        A process ended that should not.
    """
    with prepared(options, surroundings, display) as run:
        train_rounds = partial(_train, run, goal, surroundings.clock, display)
        return train_towards(run, goal, train_rounds, surroundings.clock, display, calls)


def _train(run: LocalRun, goal: Goal, clock: Callable[[], float], display: Display) -> RoundScore | None:
    """Train until the last round is published and tested, or a round reaches the target; return that one."""
    with shared_port(0) as port:
        options = run.options
        call = ClientCall(
            server=f"http://{HOST}:{port}",
            task=options.task,
            last_round=goal.last_round,
            seed=options.seed,
            upload_dtype=options.upload_dtype,
        )
        started = start_clients(run.children, run.keys, run.data.clients, options.processes, call, display)

        def servers(see: Callable[[Event], None]) -> Upstream:
            master_url, _ = start_servers(run, port, display, see)
            return Upstream(master_url, token=run.keys.operator)

        reached = follow(run, LocalClients(run.children, started), goal, servers, clock, display)
        display.step("stopping the workers and the master")
        for program in ("worker", "master"):
            for child, status in run.children.stop(program).items():
                if status != 0:
                    raise child.failure(f"ended {status_in_words(status)} when it was asked to stop")
    return reached
