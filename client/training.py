"""Takes a task through one round: the round's model in, a checked update or assessment out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from client.halves import UploadDtype, halved
from client.task import AssessingTask, Assessment, EvaluatingTask, FitConfig, Task
from fedtier.dtypes import Array, TensorSpec, as_stored, widen
from fedtier.fields import parse_metrics, parse_num_examples
from fedtier.kinds import check_update
from fedtier.problems import BadRequest, SchemaMismatch
from fedtier.rounds import ClientSettings, RoundPlan
from fedtier.tensors import TensorFile


@dataclass(frozen=True, slots=True)
class TrainedUpdate:
    """What a fit made, as it is going to be sent.

    Parameters
    ----------
    arrays : Mapping of str to ndarray
        As they are stored: BF16 tensors are uint16 bit patterns.
    specs : tuple of TensorSpec
        How each is stored, in the order of the round.
    num_examples : int
    metrics : Mapping of str to float
        Finite numbers.
    """

    arrays: Mapping[str, Array]
    specs: tuple[TensorSpec, ...]
    num_examples: int
    metrics: Mapping[str, float]


def fit_config(plan: RoundPlan, *, client_id: str, run_seed: int, epochs: int | None) -> FitConfig:
    """Return how a client is to train in a round.

    Parameters
    ----------
    plan : RoundPlan
    client_id : str
    run_seed : int
    epochs : int or None
        Instead of the round's.
    """
    settings: ClientSettings = plan.client
    return FitConfig(
        round=plan.round,
        epochs=settings.epochs if epochs is None else epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        optimizer=settings.optimizer,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        prox_mu=settings.prox_mu,
        seed=fit_seed(run_seed, client_id, plan.round),
    )


def fit_seed(run_seed: int, client_id: str, round_number: int) -> int:
    """Return the seed of one fit, in [0, 2**63): the same on every machine, unrelated between fits."""
    text = json.dumps([run_seed, client_id, round_number])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def task_arrays(model: TensorFile) -> dict[str, Array]:
    """Return a model's tensors as a task gets them: writable, apart from the file, BF16 as float32.

    The file may be deleted or replaced while they are held, not written to.
    """
    return {name: widen(array, model.spec(name).dtype) for name, array in model.private_arrays().items()}


def assess_model(task: EvaluatingTask | AssessingTask, model: TensorFile) -> Assessment:
    """Return how good a task finds a model file.

    Parameters
    ----------
    task : EvaluatingTask or AssessingTask
        Asked for all it can tell: ``assess`` where it has that, else ``evaluate``.
    model : TensorFile

    Returns
    -------
    Assessment
        Plain numbers; the confusion matrix, if there is one, is int64 with a row and a column per label.

    Raises
    ------
    SchemaMismatch
        The model is not one of the task.
    BadRequest
        The task's result is no assessment; names the first thing that is wrong.
    """
    arrays = task_arrays(model)
    if not isinstance(task, AssessingTask):
        return Assessment(_finite(task.evaluate(arrays)), None)
    metrics, examples, labels, confusion = task.assess(arrays)
    return Assessment(
        _finite(metrics),
        None if examples is None else parse_num_examples(str(examples)),
        tuple(str(label) for label in labels),
        None if confusion is None else _checked_confusion(confusion, len(labels)),
    )


def train_update(
    task: Task, model: TensorFile, plan: RoundPlan, config: FitConfig, upload_dtype: UploadDtype = "float32"
) -> TrainedUpdate:
    """Fit a task to a round's model.

    Parameters
    ----------
    task : Task
    model : TensorFile
    plan : RoundPlan
    config : FitConfig
    upload_dtype : {"float32", "bfloat16", "float16"}
        Of large float32 tensors in the update; see `client.halves`.

    Raises
    ------
    SchemaMismatch, NotFinite, OutOfRange, BadRequest
        The task's result cannot be an update of this round; says why, before it is sent.
    """
    arrays, num_examples, metrics = task.fit(task_arrays(model), config)
    stored = stored_arrays(arrays, [tensor.spec for tensor in plan.tensors])
    check_update(plan.sums, stored)
    sent, specs = halved(plan.sums, stored, upload_dtype)
    return TrainedUpdate(
        sent, specs, parse_num_examples(str(num_examples)), parse_metrics(json.dumps(_finite(metrics)))
    )


def stored_arrays(arrays: Mapping[str, Array], specs: list[TensorSpec]) -> dict[str, Array]:
    """Return a task's arrays as the round's schema stores them.

    Raises
    ------
    SchemaMismatch
        Names the first tensor that is missing, unknown, or of another dtype or shape.
    """
    unknown = set(arrays) - {spec.name for spec in specs}
    if unknown:
        raise _misfit(f"it has a tensor {min(unknown)!r}, which the round does not know")
    return {spec.name: _stored(arrays, spec) for spec in specs}


def _stored(arrays: Mapping[str, Array], spec: TensorSpec) -> Array:
    if spec.name not in arrays:
        raise _misfit(f"tensor {spec.name!r} is missing")
    value: Any = arrays[spec.name]
    if not isinstance(value, np.ndarray | np.generic):
        raise _misfit(f"tensor {spec.name!r} is a {type(value).__name__}, wanted a NumPy array")
    try:
        return as_stored(np.asarray(value), spec)
    except ValueError as error:
        raise _misfit(str(error)) from None


def _misfit(what: str) -> SchemaMismatch:
    return SchemaMismatch(f"the task's result does not fit the round: {what}")


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    for name, value in metrics.items():
        try:
            finite = bool(np.isfinite(float(value)))
        except (TypeError, ValueError):
            finite = False
        if not finite:
            raise BadRequest(f"the task's metric {name!r} is {value!r}, wanted a finite number")
    return {str(name): float(value) for name, value in metrics.items()}


def _checked_confusion(confusion: Array, classes: int) -> Array:
    counts = np.asarray(confusion)
    whole = np.issubdtype(counts.dtype, np.integer)
    if not whole or classes < 2 or counts.shape != (classes, classes) or (counts < 0).any():
        raise BadRequest(
            f"the task's confusion is {counts.dtype} {list(counts.shape)} with {classes} labels, wanted whole numbers "
            "from 0 with a row and a column for each of at least 2 labels"
        )
    return counts.astype(np.int64)
