"""How far a sum may reach, known from the check of its members: it chooses the width in which the sum is coded."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.kinds import LIMBS, SUM_BITS, SumPlan, TensorPlan
from fedtier.limbs import LIMB_BITS

Reach: TypeAlias = npt.NDArray[np.float32]
"""What no element exceeds in magnitude of what a member adds, for each summed tensor; rounded up, four bytes each."""
_TOP_LIMB: Final = LIMB_BITS * (LIMBS - 1)


def update_reach(plan: SumPlan, largest: Iterable[float], num_examples: int) -> Reach:
    """Return the reach of an update.

    Parameters
    ----------
    plan : SumPlan
    largest : iterable of float
        The largest magnitude of each summed tensor's values.
    num_examples : int
    """
    pairs = zip(plan.summed, largest, strict=True)
    return rounded_up([_reached(tensor, num_examples * magnitude) for tensor, magnitude in pairs])


def unknown_reach(plan: SumPlan, total_weight: int) -> Reach:
    """Return the reach of a member of which only its weight is known."""
    bits = SUM_BITS - plan.weight_bits
    return rounded_up(
        [math.ldexp(1.0, SUM_BITS) if t.kind == "wide" else math.ldexp(total_weight, bits) for t in plan.summed]
    )


def rounded_up(bounds: Iterable[float]) -> Reach:
    """Return bounds in single precision, none of them below what it was."""
    return np.nextafter(np.array(list(bounds), np.float32), np.float32(np.inf))


def _reached(tensor: TensorPlan, weighted: float) -> float:
    if tensor.kind == "integer":
        return weighted
    if tensor.kind == "wide":  # all limbs but the top one hold a remainder
        return max(math.ldexp(1.0, LIMB_BITS - 1), math.ldexp(weighted, tensor.exponent - _TOP_LIMB) + 1)
    return math.ldexp(weighted, tensor.exponent) + 1
