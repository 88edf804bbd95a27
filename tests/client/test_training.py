from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from client.task import Assessment, FitConfig
from client.training import assess_model, fit_config, fit_seed, task_arrays, train_update
from fedtier.dtypes import Array, TensorSpec, round_to_bfloat16
from fedtier.kinds import plan_tensor
from fedtier.problems import BadRequest, NotFinite, Problem, SchemaMismatch
from fedtier.rounds import ClientSettings, RoundPlan
from fedtier.tensors import TensorFile, write_arrays
from tests.client.federation import WEIGHT_LIMIT, make_status

SPECS = {
    "w": TensorSpec("w", "F32", (2, 2)),
    "half": TensorSpec("half", "BF16", (3,)),
    "steps": TensorSpec("steps", "I64", ()),
    "mask": TensorSpec("mask", "F32", (2,)),
}
VALUES: dict[str, Array] = {
    "w": np.array([[1, 2], [3, 4]], np.float32),
    "half": np.array([1.0, 1.5, -2.0], np.float32),
    "steps": np.array(5, np.int64),
    "mask": np.array([-np.inf, 0], np.float32),
}
CONFIG = FitConfig(
    round=1,
    epochs=1,
    batch_size=1,
    lr=0.1,
    optimizer="sgd",
    momentum=0.0,
    weight_decay=0.0,
    prox_mu=0.0,
    seed=1,
)


@pytest.fixture
def model(tmp_path: Path) -> TensorFile:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        write_arrays(file, VALUES, specs=SPECS.values())
    return TensorFile(path)


def plan_of(model: TensorFile) -> RoundPlan:
    plans = tuple(plan_tensor(spec, model.array(spec.name), WEIGHT_LIMIT) for spec in model.header.specs)
    return make_status({}).model_copy(update={"tensors": plans})


class Returns:
    """A task whose fit replaces some of what it was given."""

    def __init__(self, changed: Mapping[str, Any], *, num_examples: Any = 600, metrics: Any = None) -> None:
        self.changed = changed
        self.num_examples = num_examples
        self.metrics = metrics or {}
        self.given: dict[str, Array] = {}

    def initial_model(self, seed: int) -> dict[str, Array]:
        return VALUES

    def fit(self, arrays: Mapping[str, Array], config: FitConfig) -> tuple[dict[str, Array], int, dict[str, float]]:
        self.given = dict(arrays)
        result = {**arrays, **self.changed}
        return {k: v for k, v in result.items() if v is not None}, self.num_examples, self.metrics

    def evaluate(self, arrays: Mapping[str, Array]) -> Mapping[str, float]:
        return {"loss": float(np.float32(0.5)), "accuracy": float(arrays["half"].dtype == np.float32)}


def test_a_task_gets_writable_arrays_with_bfloat16_as_float32(model: TensorFile) -> None:
    arrays = task_arrays(model)

    for name, values in VALUES.items():
        np.testing.assert_array_equal(arrays[name], values)
        assert (arrays[name].dtype, arrays[name].shape) == (values.dtype, values.shape)
        assert arrays[name].flags.writeable


def test_a_result_is_stored_as_the_round_says_with_bfloat16_rounded_back(model: TensorFile) -> None:
    precise = np.array([1.001, 2.003, -3.007], np.float32)
    task = Returns({"half": precise, "steps": np.int64(6)}, metrics={"loss": np.float32(0.5)})

    result = train_update(task, model, plan_of(model), CONFIG)

    np.testing.assert_array_equal(result.arrays["half"], round_to_bfloat16(precise))
    assert result.arrays["steps"] == 6
    assert result.num_examples == 600
    assert result.metrics == {"loss": 0.5}
    assert type(result.metrics["loss"]) is float


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"w": None}, "'w' is missing"),
        ({"extra": np.zeros(1)}, "'extra'"),
        ({"w": np.zeros((2, 3), np.float32)}, r"'w' has shape \[2, 3\], wanted \[2, 2\]"),
        ({"w": np.zeros((2, 2), np.float64)}, "'w' has dtype float64, wanted F32"),
        ({"w": [[1, 2], [3, 4]]}, "'w' is a list"),
        ({"steps": np.float32(6)}, "'steps' has dtype float32, wanted I64"),
    ],
)
def test_a_result_that_does_not_fit_the_round_names_the_tensor(
    model: TensorFile, changed: Mapping[str, Any], says: str
) -> None:
    with pytest.raises(SchemaMismatch, match=says):
        train_update(Returns(changed), model, plan_of(model), CONFIG)


@pytest.mark.parametrize("name", ["w", "half"])
def test_training_that_diverged_is_noticed_before_it_is_sent(model: TensorFile, name: str) -> None:
    with pytest.raises(NotFinite, match=f"'{name}' has nan"):
        train_update(Returns({name: VALUES[name] * np.float32("nan")}), model, plan_of(model), CONFIG)


@pytest.mark.parametrize("num_examples", [0, -1, 1.5, None, True])
def test_a_weight_that_is_no_count_is_refused(model: TensorFile, num_examples: Any) -> None:
    with pytest.raises(Problem, match="num_examples"):
        train_update(Returns({}, num_examples=num_examples), model, plan_of(model), CONFIG)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "good", None])
def test_a_metric_that_is_no_finite_number_is_named(model: TensorFile, value: Any) -> None:
    with pytest.raises(BadRequest, match="'loss'"):
        train_update(Returns({}, metrics={"loss": value}), model, plan_of(model), CONFIG)


def test_of_a_task_that_only_evaluates_the_metrics_are_known_as_plain_numbers(model: TensorFile) -> None:
    assessment = assess_model(Returns({}), model)

    assert assessment == Assessment({"loss": 0.5, "accuracy": 1.0}, examples=None, labels=(), confusion=None)
    assert type(assessment.metrics["loss"]) is float


class Assesses(Returns):
    """A task that says of every model what it was made with."""

    def __init__(self, assessment: Any) -> None:
        super().__init__({})
        self.assessment = assessment

    def assess(self, arrays: Mapping[str, Array]) -> Assessment:
        assert arrays.keys() == VALUES.keys()
        return cast("Assessment", self.assessment)


COUNTS = np.array([[3, 1], [0, 2]], np.int32)


def test_a_task_that_assesses_is_taken_at_its_word_rather_than_evaluated(model: TensorFile) -> None:
    task = Assesses(({"loss": np.float32(0.25)}, np.int64(6), ["cat", "dog"], COUNTS))

    assessment = assess_model(task, model)

    assert assessment[:3] == ({"loss": 0.25}, 6, ("cat", "dog"))
    assert type(assessment.examples) is int
    assert assessment.confusion is not None
    assert assessment.confusion.dtype == np.int64
    np.testing.assert_array_equal(assessment.confusion, COUNTS)


@pytest.mark.parametrize(
    ("assessment", "says"),
    [
        (Assessment({"loss": float("nan")}, 6), "'loss' is nan, wanted a finite number"),
        (Assessment({"loss": 0.5}, 0), "'0'"),
        (Assessment({}, 6, ("cat", "dog", "owl"), COUNTS), r"int32 \[2, 2\] with 3 labels"),
        (Assessment({}, 6, ("cat", "dog"), COUNTS[0]), r"int32 \[2\] with 2 labels"),
        (Assessment({}, 6, ("cat", "dog"), COUNTS / 6), r"float64 \[2, 2\]"),
        (Assessment({}, 6, ("cat", "dog"), -COUNTS), "whole numbers from 0"),
        (Assessment({}, 6, ("cat",), COUNTS[:1, :1]), "at least 2 labels"),
    ],
)
def test_an_assessment_that_is_none_says_what_is_wrong_with_it(
    model: TensorFile, assessment: Assessment, says: str
) -> None:
    with pytest.raises(BadRequest, match=says):
        assess_model(Assesses(assessment), model)


def test_an_evaluation_that_is_no_finite_number_names_the_metric(model: TensorFile) -> None:
    task = Returns({})
    task.evaluate = lambda arrays: {"loss": float("inf")}  # type: ignore[method-assign]

    with pytest.raises(BadRequest, match="metric 'loss' is inf, wanted a finite number"):
        assess_model(task, model)


def test_the_round_s_settings_reach_the_task_and_epochs_may_be_overridden() -> None:
    plan = make_status({}, number=4)

    config = fit_config(plan, client_id="client-3", run_seed=7, epochs=None)
    assert (config.round, config.epochs, config.batch_size, config.lr) == (4, 1, 32, 0.05)
    assert (config.optimizer, config.momentum, config.weight_decay, config.prox_mu) == ("sgd", 0.5, 0, 0)
    assert config.seed == fit_seed(7, "client-3", 4)
    assert fit_config(plan, client_id="client-3", run_seed=7, epochs=5).epochs == 5
    changed = plan.model_copy(
        update={"client": ClientSettings(optimizer="adam", momentum=0.1, weight_decay=0.2, prox_mu=0.3)}
    )
    config = fit_config(changed, client_id="client-3", run_seed=7, epochs=None)
    assert (config.optimizer, config.momentum, config.weight_decay, config.prox_mu) == ("adam", 0.1, 0.2, 0.3)


def test_every_run_client_and_round_has_a_seed_of_its_own_the_same_on_every_machine() -> None:
    seeds = {fit_seed(run, f"client-{k}", number) for run in range(3) for k in range(12) for number in range(1, 13)}

    assert len(seeds) == 3 * 12 * 12
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert fit_seed(0, "client-0", 1) == PINNED


PINNED = 4_764_501_910_503_270_861
