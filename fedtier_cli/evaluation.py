"""How good each published round's model is: its bytes from S3, verified, and a task's own metrics.

What was found lies beside the round in S3, so that no model is tested twice on the same data.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from client.task import AssessingTask, Assessment, EvaluatingTask, load_task, require_evaluating
from client.training import assess_model
from fedtier.documents import first_error
from fedtier.evaluations import Confusion, Evaluation
from fedtier.problems import Problem, StartupError
from fedtier.store import PublishedRound, RoundStore, StoreCorrupt, StoreUnavailable
from fedtier.tensors import TensorFile
from fedtier_cli.evaluation_basis import basis_of
from fedtier_cli.history import HistoryRound
from fedtier_cli.metrics import known_first
from fedtier_cli.rundir import label

Note: TypeAlias = Callable[[str], object]
"""Takes a sentence that a person should read."""


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
    confusion : Confusion or None
        None where the task does not tell classes apart.
    known : bool
        Whether it was read from S3 rather than tested now.
    """

    round: int
    metrics: Mapping[str, float]
    clients: int
    examples: int
    seconds: float | None
    sha256: str
    confusion: Confusion | None = None
    known: bool = False

    @classmethod
    def of(cls, published: PublishedRound, evaluation: Evaluation, *, known: bool) -> RoundScore:
        """Return what a round's manifest and its evaluation say together."""
        manifest = published.manifest
        return cls(
            round=published.round,
            metrics=evaluation.metrics,
            clients=len(manifest.contributors),
            examples=manifest.total_examples,
            seconds=HistoryRound(published, evaluation).seconds,
            sha256=manifest.model.sha256,
            confusion=evaluation.confusion,
            known=known,
        )

    def members(self) -> dict[str, Any]:
        """Return the score as members of a JSON object; of classes only where the task tells them apart."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        confusion: Confusion | None = plain.pop("confusion")
        if confusion is None:
            return plain
        return {
            **plain,
            "labels": list(confusion.labels),
            "confusion": [list(row) for row in confusion.counts],
            "class_accuracies": list(confusion.class_accuracies),
        }


class Evaluator:
    """Tests published models, unless S3 says already how they did on the same data.

    Parameters
    ----------
    task : str
        As `client.task.load_task` takes it; loaded when the first model has to be tested.
    data : Path
        What the task is handed.
    again : bool
        Whether models are tested that were tested before.
    note : callable
        Gets a sentence for what went wrong and does not keep the results from being shown.

    Raises
    ------
    StartupError
        The data or the task's file cannot be read.
    """

    def __init__(self, task: str, data: Path, *, again: bool = False, note: Note) -> None:
        self._spec = task
        self._data = data
        self._basis = basis_of(task, data)
        self._again = again
        self._note = note
        self._has_said_not_kept = False

    def score(self, store: RoundStore, published: PublishedRound) -> RoundScore:
        """Say how a round's model does, and keep that beside the round.

        Raises
        ------
        StoreUnavailable
            S3 cannot be read now.
        StartupError
            The model is not the one that its manifest names, cannot be had, or is not one of the task.
        """
        known = None if self._again else self.known(store, published)
        if known is not None:
            return RoundScore.of(published, known, known=True)
        evaluation = self._tested(store, published)
        self._keep(store, evaluation)
        return RoundScore.of(published, evaluation, known=False)

    def known(self, store: RoundStore, published: PublishedRound) -> Evaluation | None:
        """Return what was found before with the same task and data, or None.

        Raises
        ------
        StoreUnavailable
            S3 cannot be read now.
        """
        try:
            found = store.read_evaluation(published.round, published.manifest.model.sha256)
        except StoreCorrupt as error:
            self._note(f"{error}; round {published.round} is tested anew")
            return None
        same = found is not None and (found.task, found.basis) == (label(self._spec), self._basis)
        return found if same else None

    def _tested(self, store: RoundStore, published: PublishedRound) -> Evaluation:
        sha256 = published.manifest.model.sha256
        try:
            with tempfile.TemporaryDirectory(prefix="fedtier-") as folder:
                path = Path(folder) / f"round-{published.round}.safetensors"
                store.download_model(published.round, sha256, path)
                assessment = assess_model(self._task, TensorFile(path))
            return Evaluation(
                round=published.round,
                model_sha256=sha256,
                task=label(self._spec),
                basis=self._basis,
                examples=assessment.examples or None,
                metrics=dict(assessment.metrics),
                confusion=_confusion(assessment),
            )
        except StoreCorrupt as error:
            raise _untestable(published, str(error)) from None
        except Problem as problem:
            raise _untestable(published, problem.detail) from None
        except ValidationError as error:
            raise _untestable(published, f"what the task says of it cannot be stored: {first_error(error)}") from None
        except OSError as error:
            raise StartupError(f"the model of round {published.round} cannot be written to disk: {error}") from None

    def _keep(self, store: RoundStore, evaluation: Evaluation) -> None:
        try:
            store.put_evaluation(evaluation)
        except StoreUnavailable as error:
            if not self._has_said_not_kept:
                self._note(f"the results are shown, but not kept in S3: {error}")
            self._has_said_not_kept = True

    @cached_property
    def _task(self) -> EvaluatingTask | AssessingTask:
        return require_evaluating(load_task(self._spec, self._data))


def _confusion(assessment: Assessment) -> Confusion | None:
    if assessment.confusion is None:
        return None
    return Confusion(labels=assessment.labels, counts=assessment.confusion.tolist())


def _untestable(published: PublishedRound, reason: str) -> StartupError:
    return StartupError(f"the model of round {published.round} cannot be tested: {reason}")


def evaluated_rounds(store: RoundStore, rounds: Iterable[PublishedRound], evaluator: Evaluator) -> Iterator[RoundScore]:
    """Say how each round's model does; one model at a time is on disk.

    Raises
    ------
    StartupError
        S3 cannot be used, or a model cannot be tested.
    """
    for published in rounds:
        try:
            yield evaluator.score(store, published)
        except StoreUnavailable as error:
            raise _untestable(published, str(error)) from None


def metric_names(scores: Sequence[RoundScore]) -> list[str]:
    """Return the names of all metrics: loss and accuracy first, then the others in order."""
    return known_first(name for score in scores for name in score.metrics)


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
