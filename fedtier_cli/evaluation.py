"""How good each published round's model is: its bytes from S3, verified, and a task's own metrics."""

from __future__ import annotations

import csv
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.task import EvaluatingTask
from client.training import evaluate_model
from fedtier.problems import Problem, StartupError
from fedtier.rounds import RoundManifest
from fedtier.store import PublishedRound, RoundStore, StoreCorrupt, StoreUnavailable
from fedtier.tensors import TensorFile

FIRST_METRICS: Final = ("loss", "accuracy")


@dataclass(frozen=True, slots=True)
class RoundScore:
    """A published round and how its model does on test data.

    Parameters
    ----------
    round : int
    metrics : Mapping of str to float
        ``loss``, ``accuracy`` and whatever else the task returns.
    clients, examples : int
        Who and what is in the round; 0 for the initial model.
    seconds : float or None
        From the round's opening to its publishing; None for the initial model.
    sha256 : str
        Of the model.
    """

    round: int
    metrics: Mapping[str, float]
    clients: int
    examples: int
    seconds: float | None
    sha256: str


def published_rounds(store: RoundStore, maxlen: int | None = None) -> list[PublishedRound]:
    """Return the published rounds up to a number, oldest first.

    Raises
    ------
    StartupError
        S3 cannot be used, a manifest is not what head or its successor says, or nothing is published.
    """
    try:
        rounds = list(store.history())
    except (StoreUnavailable, StoreCorrupt) as error:
        raise StartupError(str(error)) from None
    if not rounds:
        raise StartupError(f"nothing is published at {store.keys.prefix} yet; check --bucket_name and --bucket_key")
    return [published for published in reversed(rounds) if maxlen is None or published.round <= maxlen]


def score_rounds(store: RoundStore, rounds: Sequence[PublishedRound], task: EvaluatingTask) -> Iterator[RoundScore]:
    """Download and test each round's model; one at a time is on disk.

    Raises
    ------
    StartupError
        A model is not the one that its manifest names, cannot be had, or is not one of the task.
    """
    with tempfile.TemporaryDirectory(prefix="fedtier-") as folder:
        for published in rounds:
            path = Path(folder) / f"round-{published.round}.safetensors"
            yield _score(store, published, task, path)
            path.unlink()


def _score(store: RoundStore, published: PublishedRound, task: EvaluatingTask, path: Path) -> RoundScore:
    manifest = published.manifest
    try:
        store.download_model(published.round, manifest.model.sha256, path)
        metrics = evaluate_model(task, TensorFile(path))
    except (StoreUnavailable, StoreCorrupt) as error:
        raise StartupError(f"the model of round {published.round} cannot be tested: {error}") from None
    except Problem as problem:
        raise StartupError(f"the model of round {published.round} cannot be tested: {problem.detail}") from None
    except OSError as error:
        raise StartupError(f"the model of round {published.round} cannot be written to disk: {error}") from None
    seconds = None
    if isinstance(manifest, RoundManifest):
        seconds = (manifest.published_at - manifest.opened_at).total_seconds()
    return RoundScore(
        round=published.round,
        metrics=metrics,
        clients=len(manifest.contributors),
        examples=manifest.total_examples,
        seconds=seconds,
        sha256=manifest.model.sha256,
    )


def metric_names(scores: Sequence[RoundScore]) -> list[str]:
    """Return the names of all metrics: loss and accuracy first, then the others in order."""
    names = {name for score in scores for name in score.metrics}
    return [name for name in FIRST_METRICS if name in names] + sorted(names.difference(FIRST_METRICS))


def write_csv(path: Path, scores: Sequence[RoundScore]) -> None:
    """Write scores as a CSV file that appears whole or not at all.

    Raises
    ------
    StartupError
        It cannot be written.
    """
    names = metric_names(scores)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        try:
            with temporary.open("x", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(["round", *names, "clients", "examples", "seconds", "sha256"])
                for score in scores:
                    values = [score.metrics.get(name) for name in names]
                    rows.writerow([score.round, *values, score.clients, score.examples, score.seconds, score.sha256])
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StartupError(f"the table cannot be written to {path} ({error.strerror}); choose another --csv") from None
