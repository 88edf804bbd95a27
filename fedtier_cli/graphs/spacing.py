"""Where labels go that would lie upon each other: as near to their places as room allows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places at least `gap` apart, in the order of the wanted ones and near to them.

    Labels that touch move together around the mean of their wanted places, which is the least squares answer
    (isotonic regression by pooling adjacent violators; Barlow et al. 1972).

    Parameters
    ----------
    wanted : sequence of float
        In any order.
    gap : float
        Least distance of two neighbours.
    low, high : float
        Where places may lie; where they do not all fit, they share the room equally.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    pools: list[tuple[float, int]] = []
    for offset in np.asarray(wanted, np.float64)[order] - steps:
        mean, size = float(offset), 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        pools.append((mean, size))
    flat = np.concatenate([np.full(size, mean) for mean, size in pools])
    placed = np.clip(flat, low, high - steps[-1]) + steps
    result = np.empty(len(wanted))
    result[order] = placed
    return [float(place) for place in result]
