"""How large a sum may be, known from the check of its members: it chooses the width in which the sum is coded."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.kinds import LIMBS, SumPlan, TensorPlan
from fedtier.limbs import LIMB_BITS

Magnitudes: TypeAlias = npt.NDArray[np.float32]
"""What no element exceeds in magnitude of what a member adds, for each summed tensor; rounded up, four bytes each."""
_TOP_LIMB: Final = LIMB_BITS * (LIMBS - 1)


def update_magnitudes(plan: SumPlan, largest: Iterable[float], num_examples: int) -> Magnitudes:
    """Return what no element of what an update adds exceeds.

    Parameters
    ----------
    plan : SumPlan
    largest : iterable of float
        The largest magnitude of each summed tensor's values.
    num_examples : int
    """
    pairs = zip(plan.summed, largest, strict=True)
    return rounded_up([_scaled(tensor, num_examples * magnitude) for tensor, magnitude in pairs])


def rounded_up(bounds: Iterable[float]) -> Magnitudes:
    """Return bounds in single precision, none of them below what it was."""
    return np.nextafter(np.array(list(bounds), np.float32), np.float32(np.inf))


def _scaled(tensor: TensorPlan, weighted: float) -> float:
    if tensor.kind == "integer":
        return weighted
    if tensor.kind == "wide":  # all limbs but the top one hold a remainder
        return max(math.ldexp(1.0, LIMB_BITS - 1), math.ldexp(weighted, tensor.exponent - _TOP_LIMB) + 1)
    return math.ldexp(weighted, tensor.exponent) + 1
