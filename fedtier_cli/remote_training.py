"""``fedtier train --inventory``: a run whose servers and clients are on other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

from fedtier.problems import StartupError
from fedtier.upstream import Upstream
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.site import Site
from fedtier_cli.directions import Calls
from fedtier_cli.display import Display
from fedtier_cli.evaluation import RoundScore
from fedtier_cli.goal import Goal
from fedtier_cli.interruption import Interrupted
from fedtier_cli.processes import Event
from fedtier_cli.remote import RemoteRun, prepared, publish_round_0, ship
from fedtier_cli.remote_clients import JOURNAL, RemoteClients
from fedtier_cli.situation import plural
from fedtier_cli.tiers import training_flags
from fedtier_cli.training import follow, train_towards
from fedtier_cli.training_run import RunOptions, Surroundings

_PLAY_SECONDS: Final = 1800.0
"""Much longer than a client gets to save an update, and servers to be ready."""
_MAY_RUN: Final = "clients may still run, which infra/ansible/stop.sh ends with the servers"


def train(
    options: RunOptions,
    goal: Goal,
    playbooks: Playbooks,
    site: Site,
    server: str,
    surroundings: Surroundings,
    display: Display,
    calls: Calls,
) -> int:
    """Train until a goal is reached.

    Parameters
    ----------
    options : RunOptions
    goal : Goal
    playbooks : Playbooks
        For the site's inventory.
    site : Site
    server : str
        Address of a worker aggregator or its load balancer.
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
        A client failed, or a process here ended that should not.
    """
    with prepared(options, playbooks, site, server, surroundings, display) as run:
        train_rounds = partial(_train, run, goal, surroundings.clock, display)
        return train_towards(run, goal, train_rounds, surroundings.clock, display, calls)


def _train(run: RemoteRun, goal: Goal, clock: Callable[[], float], display: Display) -> RoundScore | None:
    """Train until the last round is published and tested, or a round reaches the target; return that one."""
    publish_round_0(run, display)
    ship(run, display)
    clients = RemoteClients(
        list(run.shards),
        run.hosts,
        run.children,
        last_round=goal.last_round,
        end=lambda: _stop_clients(run.playbooks),
        clock=clock,
        display=display,
    )
    display.step("listening to the clients' hosts")
    clients.listen()

    def servers(_: Callable[[Event], None]) -> Upstream:
        display.step(f"starting {plural(len(run.shards), 'client')} on {plural(len(run.hosts), 'host')}")
        run.playbooks.run("train", extra_vars=training_variables(run.options), timeout=_PLAY_SECONDS)
        return run.connection()

    with not_left_alone(run.playbooks, display):
        reached = follow(run, clients, goal, servers, clock, display)
    run.children.stop(JOURNAL)
    return reached


def training_variables(options: RunOptions) -> dict[str, dict[str, str]]:
    """Return what the playbook ``train`` writes into the settings of the master and of the clients."""
    client = {"--rounds": options.tiers.last_round, "--seed": options.seed, "--task": options.task}
    return {"training": _as_variables(training_flags(options.tiers)), "client_training": _as_variables(client)}


def _as_variables(flags: Mapping[str, object]) -> dict[str, str]:
    """Return flags as the variables that commands take in their place."""
    return {
        f"FEDTIER_{flag.removeprefix('--').replace('-', '_').upper()}": str(value)
        for flag, value in flags.items()
        if value is not None
    }


@contextmanager
def not_left_alone(playbooks: Playbooks, display: Display) -> Iterator[None]:
    """Stop the clients when the run ends early; nobody would see what becomes of them. The servers stay."""
    try:
        yield
    except BaseException:
        display.step("stopping the clients")
        try:
            _stop_clients(playbooks)
        except StartupError as error:
            display.note(f"{_MAY_RUN}: {error}")
        except Interrupted:
            display.note(_MAY_RUN)
        else:
            display.note("all clients are stopped; the servers stay, and the same call goes on with the round")
        raise


def _stop_clients(playbooks: Playbooks) -> None:
    playbooks.run("stop_clients", timeout=_PLAY_SECONDS)
