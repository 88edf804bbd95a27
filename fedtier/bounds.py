"""What a partial may hold: nothing that valid updates cannot add up to.

So adding partials cannot overflow, whatever their grouping; and since a mean of values lies between them, no mean
leaves its dtype: it does not wrap, and it is finite. Whoever sends a partial is believed in everything else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from fedtier.dtypes import STORAGE
from fedtier.exact import SumView
from fedtier.kinds import CHUNK, LIMBS, SUM_BITS, SumPlan, TensorPlan
from fedtier.limbs import CARRIED_UNITS, LIMB_BITS, carry
from fedtier.problems import OutOfRange

_TOP_LIMB_BITS: Final = 61
_LARGEST: Final = {
    "F64": int(np.finfo(np.float64).max),
    "F32": int(np.finfo(np.float32).max),
    "F16": int(np.finfo(np.float16).max),
    "BF16": 0xFF << 120,
}
"""The largest finite number of each floating-point dtype."""
_WIDE_F64: Final = 1 << 128
_ROUNDING: Final = 1 + 2.0**-40
"""What float64 may add to the mean of the largest numbers; so little more is rounded away again."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A part of a flattened sum and the bounds of each of its elements, both included."""

    start: int
    stop: int
    low: int
    high: int


def check_sum(plan: SumPlan, view: SumView) -> list[float]:
    """Check that a partial is what valid updates can add up to.

    Returns
    -------
    list of float
        The largest magnitude of each summed tensor's sum.

    Raises
    ------
    OutOfRange
        A sum exceeds what its total weight allows, or the weight exceeds the limit.
    """
    if not 1 <= view.total_weight <= plan.weight_limit:
        raise OutOfRange(
            f"the partial's total_weight is {view.total_weight}, not in [1, {plan.weight_limit}]",
            value=str(view.total_weight),
        )
    largest = []
    for tensor in plan.summed:
        largest.append(max((_check_run(tensor, view, run) for run in _runs(tensor, plan, view)), default=0.0))
        if tensor.kind == "wide":
            _check_wide_means(tensor, view)
    return largest


def _check_run(tensor: TensorPlan, view: SumView, run: _Run) -> float:
    """Return the largest magnitude of a run, which is within its bounds."""
    part = view.read(tensor, run.start, run.stop)
    low, high = int(part.min()), int(part.max())
    if high <= run.high and low >= run.low:
        return float(max(-low, high))
    at = int(np.flatnonzero((part > run.high) | (part < run.low))[0])
    raise OutOfRange(
        f"the partial's sum of {tensor.name!r} has {part[at]} at flat index {run.start + at}; "
        f"its total weight allows {run.low} to {run.high}",
        tensor=tensor.name,
        index=[run.start + at],
        value=str(part[at]),
    )


def _runs(tensor: TensorPlan, plan: SumPlan, view: SumView) -> Iterator[_Run]:
    """Yield the whole flattened sum; no run crosses limbs."""
    if tensor.kind == "wide":
        lower = view.contributors << (LIMB_BITS - 1)
        bounds = [(-limit, limit) for limit in (1 << _TOP_LIMB_BITS, *[lower] * (LIMBS - 1))]
    else:
        bounds = [_bounds(tensor, plan, view)]
    length = tensor.sum_length // len(bounds)
    for number, (low, high) in enumerate(bounds):
        end = (number + 1) * length
        for start in range(number * length, end, CHUNK):
            yield _Run(start, min(start + CHUNK, end), low, high)


def _bounds(tensor: TensorPlan, plan: SumPlan, view: SumView) -> tuple[int, int]:
    """Return between what the sum of one number lies: by the bits there are, and by the numbers that the dtype has."""
    weight, reach = view.total_weight, view.total_weight << (SUM_BITS - plan.weight_bits)
    if tensor.kind == "integer":
        least, largest = _integers(tensor.dtype)
        return max(weight * least, -reach), min(weight * largest, reach)
    scaled = weight * _LARGEST[tensor.dtype]
    scaled = scaled << tensor.exponent if tensor.exponent >= 0 else scaled >> -tensor.exponent
    limit = min(reach, scaled + view.contributors)  # each update is rounded to a whole number by itself
    return -limit, limit


def _integers(dtype: str) -> tuple[int, int]:
    if dtype == "BOOL":
        return 0, 1
    info = np.iinfo(STORAGE[dtype])
    return int(info.min), int(info.max)


def _check_wide_means(tensor: TensorPlan, view: SumView) -> None:
    """Check that the mean of each number is one of the dtype; of F64 its updates take less."""
    largest = float(_WIDE_F64 if tensor.dtype == "F64" else _LARGEST[tensor.dtype])
    limit = math.ldexp(view.total_weight, tensor.exponent) * largest * _ROUNDING
    elements = tensor.spec.elements
    for start in range(0, elements, CHUNK):
        stop = min(start + CHUNK, elements)
        rows = (view.read(tensor, limb * elements + start, limb * elements + stop).copy() for limb in range(LIMBS))
        # Once carried, no piece cancels another, so float64 is far more accurate than this bound is strict.
        sums = CARRIED_UNITS @ carry(np.stack(list(rows))).astype(np.float64)
        if float(np.abs(sums).max()) <= limit:
            continue
        at = int(np.argmax(np.abs(sums) > limit))
        mean = sums[at] / math.ldexp(view.total_weight, tensor.exponent)
        raise OutOfRange(
            f"the partial's sum of {tensor.name!r} has the mean {mean:g} at flat index {start + at}; "
            f"{tensor.dtype} takes magnitudes up to {largest:g}",
            tensor=tensor.name,
            index=[start + at],
            value=f"{mean:g}",
        )
