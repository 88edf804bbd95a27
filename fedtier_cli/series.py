"""What a federation's published rounds say over time, as series of loss and accuracy. Pure: rounds in, arrays out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.rounds import Contributor
from fedtier_cli.attendance import by_number
from fedtier_cli.history import HistoryRound
from fedtier_cli.metrics import METRICS, bounded, mean_metric, reported

LOW: Final = 10
HIGH: Final = 90
"""Percentiles between which four of five devices lie."""

Floats: TypeAlias = npt.NDArray[np.float64]
Counts: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class MetricHistory:
    """One metric over R rounds and D devices.

    Parameters
    ----------
    devices : ndarray of float64, shape [R, D]
        What each device reported of its training, within 1e100 of zero (see `fedtier_cli.metrics.bounded`); NaN where
        it was not in the round or reported none.
    mean : ndarray of float64, shape [R]
        Of the devices that reported it, weighted by their examples; NaN where none did, as in the arrays below.
    deviation : ndarray of float64, shape [R]
        Standard deviation of the devices, each counted once.
    low, median, high : ndarray of float64, shape [R]
        The devices' `LOW`-th, 50th and `HIGH`-th percentile, linear between devices.
    test : ndarray of float64, shape [R]
        Of the round's model on test data; NaN where it was not tested.
    """

    devices: Floats
    mean: Floats
    deviation: Floats
    low: Floats
    median: Floats
    high: Floats
    test: Floats

    @property
    def is_reported(self) -> bool:
        """Whether any device reported it."""
        return not bool(np.isnan(self.devices).all())

    @property
    def is_tested(self) -> bool:
        """Whether any round's model was tested for it."""
        return not bool(np.isnan(self.test).all())


@dataclass(frozen=True, slots=True, eq=False)
class FederationHistory:
    """R rounds of a federation of D devices.

    Parameters
    ----------
    rounds : ndarray of int64, shape [R]
        Numbers, rising.
    devices : tuple of str
        Ids of all D devices that were in a round, in the order of their numbers.
    examples : ndarray of int64, shape [R, D]
        That a device trained on; 0 where it was not in the round.
    seconds : ndarray of float64, shape [R]
        From the round's opening to its publishing; NaN for the initial model.
    metrics : Mapping of str to MetricHistory
        One for each of `METRICS`.
    """

    rounds: Counts
    devices: tuple[str, ...]
    examples: Counts
    seconds: Floats
    metrics: Mapping[str, MetricHistory]

    @property
    def counted(self) -> Counts:
        """How many devices are in each round, shape [R]."""
        counted: Counts = (self.examples > 0).sum(axis=1)
        return counted


def federation_history(rounds: Sequence[HistoryRound]) -> FederationHistory:
    """Return the series of published rounds, which may come in any order."""
    ordered = sorted(rounds, key=lambda one: one.round)
    names = sorted({part.client_id for one in ordered for part in one.contributors}, key=by_number)
    columns = {name: column for column, name in enumerate(names)}
    examples = np.zeros((len(ordered), len(names)), np.int64)
    for row, column, part in _parts(ordered, columns):
        examples[row, column] = part.num_examples
    seconds = [np.nan if one.seconds is None else one.seconds for one in ordered]
    return FederationHistory(
        rounds=np.array([one.round for one in ordered], np.int64),
        devices=tuple(names),
        examples=examples,
        seconds=np.array(seconds, np.float64),
        metrics={name: _metric_history(name, ordered, columns, examples) for name in METRICS},
    )


def _metric_history(
    name: str, ordered: Sequence[HistoryRound], columns: Mapping[str, int], examples: Counts
) -> MetricHistory:
    devices = np.full(examples.shape, np.nan)
    for row, column, part in _parts(ordered, columns):
        devices[row, column] = _or_nan(reported(part, name))
    mean = [_or_nan(mean_metric(one.contributors, name)) for one in ordered]
    test = [_or_nan(None if one.evaluation is None else one.evaluation.metrics.get(name)) for one in ordered]
    deviation, low, median, high = (np.full(len(ordered), np.nan) for _ in range(4))
    for row in range(len(ordered)):
        values = devices[row, ~np.isnan(devices[row])]
        if not len(values):
            continue
        deviation[row] = values.std()
        low[row], median[row], high[row] = np.percentile(values, (LOW, 50, HIGH))
    return MetricHistory(devices, np.array(mean), deviation, low, median, high, np.array(test))


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else bounded(value)


def _parts(ordered: Sequence[HistoryRound], columns: Mapping[str, int]) -> Iterator[tuple[int, int, Contributor]]:
    for row, one in enumerate(ordered):
        for part in one.contributors:
            yield row, columns[part.client_id], part
