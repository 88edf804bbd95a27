"""Wide sums: each number as eight int64 limbs of 39 bits, high first, which hold every finite float32."""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.dtypes import Values, widen
from fedtier.kinds import CHUNK, LIMBS, TensorPlan

Int64s: TypeAlias = npt.NDArray[np.int64]

LIMB_BITS: Final = 39
# Not powers taken by NumPy, whose vectorised pow may be off by an ulp even where the result is a power of two.
_LIMB_UNITS: Final = tuple(math.ldexp(1.0, LIMB_BITS * (LIMBS - 1 - limb)) for limb in range(LIMBS))
CARRIED_UNITS: Final = np.array([math.ldexp(1.0, LIMB_BITS * LIMBS), *_LIMB_UNITS])
"""What the rows count that `carry` returns."""


def add_to_limbs(sums: Int64s, flat: Values, tensor: TensorPlan, weight: int, *, first: bool) -> None:
    """Add ``rint(w * weight * 2**149)`` to eight rows of limbs.

    Each step takes the nearest multiple of the limb's unit, half to even, so the
    lower limbs are at most 2**38 in magnitude and the split is exact.
    """
    scale = math.ldexp(weight, tensor.exponent)
    for start in range(0, flat.size, CHUNK):
        part = widen(flat[start : start + CHUNK], tensor.dtype)
        rest = np.rint(part.astype(np.float64) * scale)
        for limb, unit in enumerate(_LIMB_UNITS):
            digits = np.rint(rest / unit)
            rest -= digits * unit
            target = sums[limb, start : start + CHUNK]
            counted = digits.astype(np.int64)
            np.copyto(target, counted) if first else np.add(target, counted, out=target)


def limbs_to_float(limbs: Int64s) -> npt.NDArray[np.float64]:
    """Return the float64 nearest to each sum of limbs.

    `limbs` has shape (8, n), high first. After the carry every piece is exact in
    float64, and `math.fsum` rounds their exact sum once.
    """
    scaled = carry(limbs).astype(np.float64) * CARRIED_UNITS[:, None]
    return np.fromiter((math.fsum(column) for column in scaled.T.tolist()), np.float64, limbs.shape[1])


def carry(limbs: Int64s) -> Int64s:
    """Return the same sums in nine rows, high first, all but the first at most ``2**38`` in magnitude.

    Parameters
    ----------
    limbs : ndarray of int64, shape (8, n)
    """
    pieces = np.concatenate([np.zeros((1, limbs.shape[1]), np.int64), limbs])
    for row in range(LIMBS, 0, -1):
        over = (pieces[row] + (1 << (LIMB_BITS - 1))) >> LIMB_BITS
        pieces[row] -= over << LIMB_BITS
        pieces[row - 1] += over
    return pieces
