"""A weighted mean that holds one model, whatever the number of updates: each is added in place as it comes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.updates import Floats

_PIECE = 1 << 18


class WeightedSum:
    """Sums float32 tensors, each times a number of examples; safe to add to from several threads.

    Parameters
    ----------
    sizes : sequence of int
        Elements of each tensor.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._totals = [np.zeros(size, np.float32) for size in sizes]
        self._examples = 0
        self._lock = threading.Lock()

    def add(self, tensors: Iterable[Floats], examples: int) -> None:
        """Add an update.

        Parameters
        ----------
        tensors : iterable of ndarray
            Each is let go before the next is asked for.
        examples : int

        Raises
        ------
        ValueError
            They are not of the sum's sizes.
        """
        with self._lock:
            for total, tensor in zip(self._totals, tensors, strict=True):
                if tensor.size != total.size:
                    raise ValueError(f"a tensor has {tensor.size} elements, and not {total.size}")
                _add(total, tensor.reshape(-1), np.float32(examples))
            self._examples += examples

    def mean(self) -> list[Floats]:
        """Return the mean as flat tensors, which are the sum's own; nothing may be added afterwards."""
        for total in self._totals:
            np.divide(total, np.float32(self._examples), out=total)
        return self._totals


def _add(total: Floats, tensor: Floats, weight: np.float32) -> None:
    for start in range(0, total.size, _PIECE):  # so that the product stays in a cache
        piece = slice(start, start + _PIECE)
        total[piece] += tensor[piece] * weight
