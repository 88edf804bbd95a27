from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier_cli.metrics import bounded, known_first, mean_metric, shown_metric
from tests.fedtier_cli.histories import part

VALUES = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(VALUES, st.integers(1, 2**62)), min_size=1))
def test_a_mean_is_a_number_between_what_is_reported(told: list[tuple[float, int]]) -> None:
    mean = mean_metric([part(f"c{number}", weight, loss=loss) for number, (loss, weight) in enumerate(told)], "loss")
    least, most = min(bounded(loss) for loss, _ in told), max(bounded(loss) for loss, _ in told)
    assert mean is not None
    assert least - 1e-12 * abs(least) <= mean <= most + 1e-12 * abs(most)


def test_a_mean_is_weighted_by_examples_and_leaves_out_who_reports_nothing() -> None:
    parts = [part("a", 30, loss=1.0), part("b", 10, loss=2.0), part("c", 1000)]
    assert mean_metric(parts, "loss") == np.average([1.0, 2.0], weights=[30, 10])
    assert mean_metric(parts, "accuracy") is None


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("loss", None, ""),
        ("loss", 0.0, "0.0000"),
        ("loss", 0.07124, "0.0712"),
        ("loss", -12.5, "-12.5000"),
        ("loss", 1e308, "1.000e+308"),
        ("loss", 2e-5, "2.000e-05"),
        ("accuracy", 0.97816, "97.82%"),
        ("accuracy", 1e9, "1.000e+09"),
    ],
)
def test_a_metric_is_shown_as_a_person_reads_it(name: str, value: float | None, shown: str) -> None:
    assert shown_metric(name, value) == shown


@given(st.sampled_from(["loss", "accuracy"]), VALUES)
def test_no_number_takes_more_room_than_a_column_has(name: str, value: float) -> None:
    assert len(shown_metric(name, value)) <= 12


def test_loss_and_accuracy_come_first() -> None:
    assert known_first(["f1", "accuracy", "auc", "loss", "f1"]) == ["loss", "accuracy", "auc", "f1"]
