"""What values add to an exact sum, a window at a time: scaled by a power of two, rounded once, and counted."""

from __future__ import annotations

import math

import numpy as np

from fedtier.dtypes import Array, widen
from fedtier.kinds import CHUNK, TensorPlan
from fedtier.limbs import Int64s


class TermAdder:
    """Adds windows of values to windows of integer sums, with two buffers that stay in the cache."""

    def __init__(self) -> None:
        self.scaled = np.empty(CHUNK, np.float64)
        """Scratch; between two calls anyone's."""
        self._counted = np.empty(CHUNK, np.int64)

    def add(self, target: Int64s, part: Array, tensor: TensorPlan, weight: int, *, first: bool) -> None:
        """Add at most `CHUNK` weighted values of a tensor that is not wide.

        Parameters
        ----------
        target : ndarray of int64, shape (n,)
        part : ndarray, shape (n,)
            As stored.
        tensor : TensorPlan
        weight : int
        first : bool
            Nothing is in `target` yet: it is written over.
        """
        counted = target if first else self._counted[: part.size]
        if tensor.kind == "float":
            scaled = self.scaled[: part.size]
            np.copyto(scaled, widen(part, tensor.dtype))
            np.multiply(scaled, math.ldexp(weight, tensor.exponent), out=scaled)
            np.rint(scaled, out=scaled)
            np.copyto(counted, scaled, casting="unsafe")
        else:
            np.copyto(counted, part, casting="unsafe")
            np.multiply(counted, weight, out=counted)
        if not first:
            np.add(target, counted, out=target)
