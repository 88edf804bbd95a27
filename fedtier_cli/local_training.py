"""``fedtier train``: a local run with clients, watched until its goal is reached, its models tested beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fedtier.problems import StartupError
from fedtier.upstream import Upstream
from fedtier_cli.directions import Calls, places
from fedtier_cli.display import Display
from fedtier_cli.evaluation import RoundScore
from fedtier_cli.goal import Goal
from fedtier_cli.local import LocalOptions, LocalRun, Surroundings, prepared, start_servers
from fedtier_cli.local_clients import ClientCall, start_clients
from fedtier_cli.local_testing import PROGRAM, RoundTests, scores_so_far, show_scores
from fedtier_cli.local_watch import Watch
from fedtier_cli.processes import RunFailed, status_in_words
from fedtier_cli.seaweed import HOST
from fedtier_cli.tiers import shared_port

TARGET_MISSED: Final = 3
"""Exit status of a run whose last round is published and whose target is not reached."""


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
        Exit status: 0, or `TARGET_MISSED`.

    Raises
    ------
    StartupError
        It cannot start.
    RunFailed
        A process ended that should not.
    """
    with prepared(options, surroundings, display) as run:
        _require_testable(run, goal)
        status = _towards(run, goal, surroundings.clock, display)
        display.facts("finished", [*places(run), *calls.going_on(run, goal), *calls.looking(run)])
    return status


def _require_testable(run: LocalRun, goal: Goal) -> None:
    if goal.target is not None and not run.is_testable:
        raise StartupError(
            f"--target is an accuracy, and the task {run.options.task} has no method evaluate; add one, or leave "
            "--target out"
        )


def _towards(run: LocalRun, goal: Goal, clock: Callable[[], float], display: Display) -> int:
    started = clock()
    if run.newest_round is not None and goal.target is not None:
        already = goal.first_reached(scores_so_far(run, display))
        if already is not None:
            display.note(goal.reached(already, already=True))
            return 0
    if run.newest_round is not None and run.newest_round >= goal.last_round:
        display.note(
            f"round {goal.last_round} is reached already: round {run.newest_round} is the newest published; "
            f"name a later --round to go on"
        )
        return 0 if goal.target is None else _judge(show_scores(run, display), goal, display)
    reached = _train(run, goal, clock, display)
    scores = show_scores(run, display)
    if reached is not None:
        display.note(f"{goal.reached(reached)} ({clock() - started:.1f} s)")
        return 0
    display.note(f"round {goal.last_round} reached in {clock() - started:.1f} s")
    return _judge(scores, goal, display)


def _judge(scores: list[RoundScore], goal: Goal, display: Display) -> int:
    """Say whether a target was reached, where there is one, and return the exit status."""
    if goal.target is None:
        return 0
    reached = goal.first_reached(scores)
    display.note(goal.missed(scores) if reached is None else goal.reached(reached))
    return TARGET_MISSED if reached is None else 0


def _train(run: LocalRun, goal: Goal, clock: Callable[[], float], display: Display) -> RoundScore | None:
    """Train until the last round is published and tested, or a round reaches the target; return that one."""
    with shared_port(0) as port:
        options = run.options
        call = ClientCall(
            server=f"http://{HOST}:{port}", task=options.task, last_round=goal.last_round, seed=options.seed
        )
        clients = start_clients(run.children, run.keys, run.data.clients, options.processes, call, display)
        tests = RoundTests(run, goal, display)
        watch = Watch(run, clients, goal, tests, clock, display)
        master_url, _ = start_servers(run, port, display, watch.see)
        tests.start()
        with Upstream(master_url, token=run.keys.operator) as upstream:
            watch.until_clients_stop(upstream)
    if tests.reached is None:
        _require_published(run, goal)
        # Before the master ends, so that its TensorBoard gets the last round's test too.
        watch.until_tested()
    run.children.stop(PROGRAM)
    display.step("stopping the workers and the master")
    for program in ("worker", "master"):
        for child, status in run.children.stop(program).items():
            if status != 0:
                raise child.failure(f"ended {status_in_words(status)} when it was asked to stop")
    return tests.reached


def _require_published(run: LocalRun, goal: Goal) -> None:
    newest = run.store.newest_round()
    if newest is None or newest < goal.last_round:
        raise RunFailed(
            f"all clients stopped, but round {newest} is the newest published, not {goal.last_round}; "
            f"the logs in {run.directory.logs} say more"
        )
