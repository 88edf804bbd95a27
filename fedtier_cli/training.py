"""Training towards a goal, wherever the tiers are: what is trained, what is tested, and what is said in the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, TypeAlias

from fedtier.problems import StartupError
from fedtier.upstream import Upstream
from fedtier_cli.directions import Calls, places
from fedtier_cli.display import Display
from fedtier_cli.evaluation import RoundScore
from fedtier_cli.goal import Goal
from fedtier_cli.processes import Event, RunFailed
from fedtier_cli.round_tests import PROGRAM, RoundTests, scores_so_far, show_scores
from fedtier_cli.run_clients import Clients
from fedtier_cli.training_run import Run
from fedtier_cli.training_watch import Watch

TARGET_MISSED: Final = 3
"""Exit status of a run whose last round is published and whose target is not reached."""
TrainRounds: TypeAlias = Callable[[], RoundScore | None]
"""Trains until the last round is published and tested, or a round reaches the target; returns that one."""
Reached: TypeAlias = Callable[[Callable[[Event], None]], AbstractContextManager[Upstream]]
"""Makes the servers ready, and gives a connection to one that knows the round; gets what sees to events meanwhile."""


def require_testable(run: Run, goal: Goal) -> None:
    """Check that somebody can tell when the target is reached, where there is one.

    Raises
    ------
    StartupError
    """
    if goal.target is not None and not run.is_testable:
        raise StartupError(
            f"--target is an accuracy, and the task {run.options.task} has no method evaluate; add one, or leave "
            "--target out"
        )


def train_towards(
    run: Run, goal: Goal, train_rounds: TrainRounds, clock: Callable[[], float], display: Display, calls: Calls
) -> int:
    """Train until a goal is reached, unless it is already, and say what came of it.

    Parameters
    ----------
    run : Run
    goal : Goal
    train_rounds : callable
        Called where there is something to train.
    clock : callable
        Monotonic seconds.
    display : Display
    calls : Calls

    Returns
    -------
    int
        Exit status: 0, or `TARGET_MISSED`.
    """
    require_testable(run, goal)
    status = _towards(run, goal, train_rounds, clock, display)
    display.facts("finished", [*places(run), *calls.going_on(run, goal), *calls.looking(run)])
    return status


def follow(
    run: Run, clients: Clients, goal: Goal, servers: Reached, clock: Callable[[], float], display: Display
) -> RoundScore | None:
    """Follow clients that were started until the goal is reached and tested; return the round that has the target.

    Raises
    ------
    StartupError, RunFailed
    """
    tests = RoundTests(run, goal, display)
    watch = Watch(run, clients, goal, tests, clock, display)
    with servers(watch.see) as server:
        tests.start()
        watch.until_clients_stop(server)
    if tests.reached is None:
        _require_published(run, goal)
        # Before a master of the run's own ends, so that its TensorBoard gets the last round's test too.
        watch.until_tested()
    run.children.stop(PROGRAM)
    return tests.reached


def _towards(run: Run, goal: Goal, train_rounds: TrainRounds, clock: Callable[[], float], display: Display) -> int:
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
    reached = train_rounds()
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


def _require_published(run: Run, goal: Goal) -> None:
    newest = run.store.newest_round()
    if newest is None or newest < goal.last_round:
        raise RunFailed(
            f"all clients stopped, but round {newest} is the newest published, not {goal.last_round}; "
            f"the logs in {run.directory.logs} say more"
        )
