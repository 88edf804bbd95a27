"""The tests of a run's models: a process beside the run that tests rounds as they are published."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

from fedtier.problems import StartupError
from fedtier.store import StoreUnavailable
from fedtier_cli.display import Display
from fedtier_cli.evaluation import Evaluator, RoundScore, evaluated_rounds, write_csv
from fedtier_cli.goal import Goal
from fedtier_cli.history import published_rounds
from fedtier_cli.processes import Child, Ended, Event, Fact, status_in_words
from fedtier_cli.training_run import Run

PROGRAM: Final = "evaluate"
_LOOK_EVERY: Final = "0.5"
"""Seconds."""
_NICENESS: Final = 10


class RoundTests:
    """Follows the process that tests rounds, and remembers which round reached the run's target first.

    Parameters
    ----------
    run : Run
    goal : Goal
    display : Display
    """

    def __init__(self, run: Run, goal: Goal, display: Display) -> None:
        self._run = run
        self._goal = goal
        self._display = display
        self._child: Child | None = None
        self.is_running = False
        self.reached: RoundScore | None = None

    def start(self) -> None:
        """Start the process, where the task can say how good a model is."""
        if not self._run.is_testable:
            return
        arguments = [PROGRAM, "--run-dir", str(self._run.directory.path), "--watch", "--every", _LOOK_EVERY]
        arguments += ["--maxlen", str(self._goal.last_round), "--json"]
        child = self._run.children.start(PROGRAM, arguments, environment={"OMP_NUM_THREADS": "1"})
        # The clients go first: a test may come late, a round may not.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.process.pid, _NICENESS)
        self._display.started(child.name, child.process.pid)
        self._child, self.is_running = child, True

    def takes(self, event: Event) -> bool:
        """Take note of what the process did; return whether the event was its.

        Raises
        ------
        RunFailed
            It ended, and without tests nobody knows when the target is reached.
        StartupError
            There is a target, and the task does not report an accuracy.
        """
        if self._child is None or event.child is not self._child:
            return False
        match event:
            case Fact(_, members):
                self._see(members)
            case Ended(child, status):
                self.is_running = False
                if status != 0 and self._goal.target is not None:
                    raise child.failure(
                        f"ended {status_in_words(status)}, and only tests can tell when the target is reached"
                    )
                if status != 0:
                    self._display.note(
                        f"the tests ended {status_in_words(status)}, so the models are tested when the run ends; "
                        f"their log is {child.log}"
                    )
        return True

    def _see(self, members: Any) -> None:
        if members["event"] == "note":
            self._display.note(f"testing: {members['detail']}")
        elif members["event"] == "score":
            score = _score(members)
            self._display.tested(score)
            if self.reached is None and self._goal.is_reached_by(score):
                self.reached = score


def _score(members: Any) -> RoundScore:
    """Return a score as the process printed it, without what it says of classes."""
    names = ("round", "metrics", "clients", "examples", "seconds", "sha256", "known")
    return RoundScore(**{name: members[name] for name in names})


def scores_so_far(run: Run, display: Display) -> Iterator[RoundScore]:
    """Yield the rounds that were tested before on the same data, oldest first; no model is tested.

    Raises
    ------
    StartupError
        S3 cannot be used, or the test data cannot be read.
    """
    evaluator = Evaluator(run.options.task, run.data.test, note=display.note)
    for published in published_rounds(run.store.rounds):
        try:
            found = evaluator.known(run.store.rounds, published)
        except StoreUnavailable as error:
            raise StartupError(str(error)) from None
        if found is not None:
            yield RoundScore.of(published, found, known=True)


def show_scores(run: Run, display: Display) -> list[RoundScore]:
    """Show a table of all published rounds and write it down; only what was not tested before is tested.

    Raises
    ------
    StartupError
        S3 cannot be used, or a model cannot be tested.
    """
    if not run.is_testable:
        display.note(f"the task {run.options.task} has no method evaluate, so its models are not tested")
        return []
    evaluator = Evaluator(run.options.task, run.data.test, note=display.note)
    scores = list(evaluated_rounds(run.store.rounds, published_rounds(run.store.rounds), evaluator))
    write_csv(run.directory.path / "evaluation.csv", scores)
    display.scores(scores)
    return scores
