"""Which devices lie so far from the others that a picture names them. Pure: arrays in, columns out."""

from __future__ import annotations

from typing import Final

import numpy as np

from fedtier_cli.series import Floats

MAX_NAMED: Final = 6
"""More names than that are no exceptions, and do not fit beside a panel."""
THRESHOLD: Final = 3.5
"""Robust standard deviations, as Iglewicz and Hoaglin recommend."""
_NORMAL_MAD: Final = 0.6745
_NORMAL_MEAN_DEVIATION: Final = 0.7979
"""What median and mean absolute deviation of a normal distribution are, in standard deviations."""


def outliers(values: Floats) -> tuple[int, ...]:
    """Return the devices that lie apart from the others, the farthest first, at most `MAX_NAMED`.

    A device's distance is the mean, over the rounds it reported in, of its value less the round's median. It lies
    apart when this is more than `THRESHOLD` robust standard deviations from the median of all devices' distances
    (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993: the modified z-score).

    Parameters
    ----------
    values : ndarray of float64, shape [R, D]
        NaN where a device has none.

    Returns
    -------
    tuple of int
        Columns of `values`.
    """
    rows = values[~np.isnan(values).all(axis=1)]
    columns = np.flatnonzero(~np.isnan(rows).all(axis=0))
    if len(columns) == 0:
        return ()
    distances = np.nanmean(rows[:, columns] - np.nanmedian(rows, axis=1, keepdims=True), axis=0)
    scores = _robust_scores(distances)
    order = np.argsort(-scores, kind="stable")[:MAX_NAMED]
    return tuple(int(columns[number]) for number in order if scores[number] > THRESHOLD)


def _robust_scores(distances: Floats) -> Floats:
    """Return how many robust standard deviations each distance lies from their median."""
    apart = np.abs(distances - np.median(distances))
    deviation = float(np.median(apart)) / _NORMAL_MAD
    if deviation == 0:
        # More than half of the devices lie on the median; the mean still tells the others apart.
        deviation = float(apart.mean()) / _NORMAL_MEAN_DEVIATION
    return apart / deviation if deviation > 0 else np.zeros_like(apart)
