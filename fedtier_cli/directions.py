"""Where things of a run lie, and which calls go on with it and look at it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from fedtier_cli.goal import Goal
from fedtier_cli.training_run import Run
from fedtier_cli.workplace import shown


@dataclass(frozen=True, slots=True)
class Calls:
    """How the user calls programs from here, for the sentences on how to go on.

    Parameters
    ----------
    train : str
        This run's call without its last round and its target.
    evaluate, graph, tensorboard : str
        Without flags.
    """

    train: str
    evaluate: str
    graph: str
    tensorboard: str

    def going_on(self, run: Run, goal: Goal) -> list[tuple[str, str]]:
        """Return the call that trains two more rounds."""
        newest = run.store.newest_round() or goal.last_round
        here = f" --run-dir {shlex.quote(shown(run.directory.path))}" if run.is_elsewhere else ""
        return [("go on", f"{self.train}{here} --round {newest + 2}")]

    def looking(self, run: Run) -> list[tuple[str, str]]:
        """Return the calls that show what the run does, or did."""
        folder = shlex.quote(shown(run.directory.path))
        return [
            ("test again", f"{self.evaluate} --run-dir {folder}"),
            ("graphs", f"{self.graph} --run-dir {folder}"),
            *run.scalars(self.tensorboard),
        ]


def places(run: Run) -> list[tuple[str, str]]:
    """Return where models and logs lie."""
    rounds = run.store.rounds
    keys, bucket = rounds.keys, rounds.bucket
    folder = shown(run.directory.path)
    picture = run.directory.path / "confusion.png"
    return [
        ("models", f"s3://{bucket}/{keys.prefix}/rounds/<round>/model-<sha256>.safetensors"),
        ("manifests", f"s3://{bucket}/{keys.prefix}/rounds/<round>/manifest-<sha256>.json"),
        ("newest model", f"s3://{bucket}/{keys.copy}"),
        ("run directory", folder),
        ("logs", f"{folder}/logs"),
        *([("confusion matrix", shown(picture))] if picture.exists() else []),
    ]
