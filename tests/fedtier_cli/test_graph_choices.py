"""What a picture's drawing is told: who lies apart, and where labels go."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier_cli.graphs.outliers import MAX_NAMED, outliers
from fedtier_cli.graphs.spacing import spread
from fedtier_cli.series import Floats, federation_history
from tests.fedtier_cli.histories import training

PLACES = st.lists(st.floats(0, 100), min_size=1, max_size=12)


def losses(devices: int, rounds: int, *apart: int, fraction: float = 1.0) -> tuple[tuple[str, ...], Floats]:
    history = federation_history(training(devices, rounds, apart=apart, fraction=fraction))
    return history.devices, history.metrics["loss"].devices


class TestOutliers:
    @pytest.mark.parametrize("fraction", [1.0, 0.3])
    def test_devices_made_to_lie_apart_are_found_first(self, fraction: float) -> None:
        names, values = losses(60, 40, 3, 41, fraction=fraction)
        assert {names[column] for column in outliers(values)[:2]} == {"client-3", "client-41"}

    def test_so_many_are_named_at_most(self) -> None:
        _, values = losses(100, 5, *range(12))
        assert len(outliers(values)) == MAX_NAMED

    def test_devices_that_do_not_differ_are_not_apart(self) -> None:
        assert outliers(np.full((5, 20), 0.3)) == ()

    def test_one_device_apart_from_equal_ones_is_found(self) -> None:
        values = np.full((5, 20), 0.3)
        values[:, 7] = 0.9
        assert outliers(values) == (7,)

    def test_rounds_and_devices_without_values_do_not_count(self) -> None:
        values = np.full((5, 20), np.nan)
        assert outliers(values) == ()
        values[1:, :15] = np.linspace(0.1, 0.2, 15)
        values[2, 4] = 50
        assert outliers(values) == (4,)

    @given(st.integers(0, 1000), st.floats(-100, 100), st.floats(0.01, 100))
    def test_shift_and_scale_of_a_metric_do_not_count(self, seed: int, shift: float, scale: float) -> None:
        values = np.random.default_rng(seed).standard_normal((4, 30))
        values[:, 11] += 8
        assert outliers(values * scale + shift) == outliers(values)


class TestSpacing:
    @given(PLACES, st.floats(0.1, 30))
    def test_labels_keep_their_distance_and_their_order(self, wanted: list[float], gap: float) -> None:
        room = gap * (len(wanted) - 1)
        placed = spread(wanted, gap, 0, 100 + room)
        ordered = [place for _, place in sorted(zip(wanted, placed, strict=True))]
        assert all(upper - lower >= gap * (1 - 1e-9) - 1e-9 for lower, upper in itertools.pairwise(ordered))

    @given(PLACES, st.floats(0.1, 30))
    def test_labels_stay_within_bounds(self, wanted: list[float], gap: float) -> None:
        assert all(-1e-9 <= place <= 100 + 1e-9 for place in spread(wanted, gap, 0, 100))

    def test_labels_that_have_room_stay_where_they_are_wanted(self) -> None:
        assert spread([50, 10, 30], 5, 0, 100) == [50, 10, 30]

    def test_labels_that_touch_move_apart_evenly(self) -> None:
        assert spread([50, 50, 10], 10, 0, 100) == [45, 55, 10]
