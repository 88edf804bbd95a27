"""How a round sums each tensor: its kind, its exponent, and which values it takes.

The kinds are chosen once, from the model that opens the round, so that the sum of
any valid updates fits 62 bits, whatever their grouping:

``float``
    ``rint(w * (n * 2**exponent))`` as one int64.
``wide``
    The same with exponent 149, as eight int64 limbs of 39 bits, high first: holds
    every finite float32 (biases, norms, running statistics).
``integer``
    ``n * w``, integer arithmetic only.
``kept``
    Not summed: not finite in the opening model (a mask), the result takes it from there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, TypeAlias

import numpy as np

from fedtier.dtypes import FLOATS, HALVES, Array, TensorSpec, Values, widen
from fedtier.problems import NotFinite, OutOfRange

Kind: TypeAlias = Literal["float", "wide", "integer", "kept"]

CHUNK: Final = 65_536
"""Elements handled at a time: two float64 buffers of that length stay in the cache."""
SUM_BITS: Final = 62
LIMBS: Final = 8
WIDE_EXPONENT: Final = 149
WIDE_ELEMENTS: Final = 65_536
_WIDE_BITS: Final = 128
_HEADROOM: Final = 256.0
MAX_WEIGHT_LIMIT: Final = 1 << 53
"""Up to here total weights are exact in float64, and the top limb of a wide sum fits."""


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """How a round sums one tensor.

    Parameters
    ----------
    name : str
    dtype : str
        safetensors' dtype name.
    shape : tuple of int
    kind : {"float", "wide", "integer", "kept"}
    exponent : int
        Values are counted in units of ``2**-exponent``; 0 for integer and kept.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: Kind
    exponent: int

    @property
    def spec(self) -> TensorSpec:
        """Name, dtype and shape."""
        return TensorSpec(self.name, self.dtype, self.shape)

    @property
    def upload_dtypes(self) -> tuple[str, ...]:
        """The dtypes in which an update may carry the tensor: its own, or half the size of a large F32 one.

        Half-size numbers are float32 numbers, so they are summed as what they are. Wide tensors are small, and
        reach beyond what F16 holds.
        """
        return (self.dtype, *HALVES) if self.kind == "float" and self.dtype == "F32" else (self.dtype,)

    @property
    def sum_shape(self) -> tuple[int, ...]:
        """Shape of the integer sum: that of the tensor, with limbs in front for wide ones."""
        return (LIMBS, *self.shape) if self.kind == "wide" else self.shape

    @property
    def sum_length(self) -> int:
        """How many int64 the sum has; 0 when the tensor is kept."""
        return 0 if self.kind == "kept" else math.prod(self.sum_shape)


@dataclass(frozen=True)
class SumPlan:
    """What every exact sum of a round has in common.

    Parameters
    ----------
    tensors : tuple of TensorPlan
        In the order of the model's file.
    weight_limit : int
        The most examples the round may count, from 1 to `MAX_WEIGHT_LIMIT`.

    Raises
    ------
    ValueError
        The weight limit is not in that range.
    """

    tensors: tuple[TensorPlan, ...]
    weight_limit: int

    def __post_init__(self) -> None:
        if not 1 <= self.weight_limit <= MAX_WEIGHT_LIMIT:
            raise ValueError(f"the weight limit is {self.weight_limit}, not in [1, {MAX_WEIGHT_LIMIT}]")

    @property
    def weight_bits(self) -> int:
        """``c`` of the definition: bits that the weights may take of an int64."""
        return weight_bits(self.weight_limit)

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all tensors."""
        return frozenset(tensor.name for tensor in self.tensors)

    @cached_property
    def summed(self) -> tuple[TensorPlan, ...]:
        """The tensors that are summed: all but the kept ones."""
        return tuple(tensor for tensor in self.tensors if tensor.kind != "kept")

    @cached_property
    def upload_specs(self) -> dict[TensorSpec, TensorSpec]:
        """What an update may carry, each to be found by its equal: updates that wait share it."""
        tensors = ((tensor, dtype) for tensor in self.tensors for dtype in tensor.upload_dtypes)
        specs = (TensorSpec(tensor.name, dtype, tensor.shape) for tensor, dtype in tensors)
        return {spec: spec for spec in specs}

    @property
    def nbytes(self) -> int:
        """How many bytes a sum takes in memory, and at most in a file."""
        return sum(8 * tensor.sum_length for tensor in self.tensors)


def weight_bits(weight_limit: int) -> int:
    """Return ``c = (weight_limit - 1).bit_length()``."""
    return (weight_limit - 1).bit_length()


def plan_tensor(spec: TensorSpec, values: Values, weight_limit: int) -> TensorPlan:
    """Choose kind and exponent of one tensor from the model that opens the round.

    Parameters
    ----------
    spec : TensorSpec
    values : Values
        Stored values, of the spec's shape.
    weight_limit : int

    Raises
    ------
    OutOfRange
        The values are too large to be summed exactly.
    """
    magnitude = magnitude_of(values, spec.dtype) if spec.dtype in FLOATS else 0.0
    plan = plan_by_magnitude(spec, magnitude, weight_limit)
    # The mean of numbers just below the limit of wide ones is rounded, and must not keep the next round from opening.
    _check(plan, values, value_limit(plan, weight_limit) * (2 if plan.kind == "wide" else 1))
    return plan


def plan_by_magnitude(spec: TensorSpec, magnitude: float, weight_limit: int) -> TensorPlan:
    """Choose kind and exponent of one tensor whose values need no check: those of a mean are in range.

    Parameters
    ----------
    spec : TensorSpec
    magnitude : float
        `magnitude_of` its values; means nothing for integers.
    weight_limit : int

    Raises
    ------
    OutOfRange
        The values are too large to be summed exactly.
    """
    kind: Kind = "integer"
    exponent = 0
    if spec.dtype in FLOATS:
        many = len(spec.shape) > 1 or spec.elements > WIDE_ELEMENTS
        if not math.isfinite(magnitude):
            kind = "kept"
        elif many:
            kind, exponent = "float", _float_exponent(spec, magnitude, weight_limit)
        else:
            kind, exponent = "wide", WIDE_EXPONENT
    return TensorPlan(spec.name, spec.dtype, spec.shape, kind, exponent)


def magnitude_of(values: Values, dtype: str) -> float:
    """Return max |w| in float64; NaN or infinity when a value is not finite; 0 when empty."""
    flat, largest = values.ravel(), 0.0
    for start in range(0, flat.size, CHUNK):
        part = widen(flat[start : start + CHUNK], dtype)
        low, high = float(part.min()), float(part.max())
        if math.isnan(low) or math.isnan(high):
            return math.nan
        largest = max(largest, -low, high)
    return largest


def _float_exponent(spec: TensorSpec, magnitude: float, weight_limit: int) -> int:
    reach = _HEADROOM * max(1.0, magnitude)
    if math.isinf(reach):
        raise OutOfRange(
            f"tensor {spec.name!r} has values up to {magnitude:g}, too large to be summed; scale the model down",
            tensor=spec.name,
        )
    fraction, bits = math.frexp(reach)
    if fraction == 0.5:  # a power of two needs one bit less
        bits -= 1
    exponent = SUM_BITS - weight_bits(weight_limit) - bits
    if not -900 <= exponent <= 900:
        raise OutOfRange(
            f"tensor {spec.name!r} has values up to {magnitude:g}, which would need the exponent {exponent}, "
            "not one in [-900, 900]; scale the model down",
            tensor=spec.name,
        )
    return exponent


def value_limit(plan: TensorPlan, weight_limit: int) -> int:
    """Return the bound that |w| of a summed tensor must stay below (integers: may reach)."""
    if plan.kind == "wide":
        return 1 << _WIDE_BITS
    bits = SUM_BITS - weight_bits(weight_limit) - plan.exponent
    return 1 << bits if bits >= 0 else 0


def check_values(plan: TensorPlan, values: Values, weight_limit: int) -> float:
    """Check that an update's tensor can be folded; return its largest magnitude.

    Parameters
    ----------
    plan : TensorPlan
    values : Values
        Stored values, of the plan's shape.
    weight_limit : int

    Raises
    ------
    NotFinite, OutOfRange
        Name the tensor, the index and the value.
    """
    return _check(plan, values, value_limit(plan, weight_limit))


def _check(plan: TensorPlan, values: Values, limit: int) -> float:
    if plan.kind == "kept":
        return 0.0
    flat, largest = values.ravel(), 0.0
    reach = _integers_reach if plan.kind == "integer" else _floats_reach
    for start in range(0, flat.size, CHUNK):
        part = widen(flat[start : start + CHUNK], plan.dtype)
        reached = reach(part, limit)
        if reached is None:
            raise _misfit(plan, part, start, limit)
        largest = max(largest, reached)
    return largest


def _floats_reach(part: Array, limit: int) -> float | None:
    """Return the largest magnitude, None where it is too large."""
    bound, low, high = float(limit), float(part.min()), float(part.max())
    # Written so that a NaN, which compares false with everything, fails.
    return max(-low, high) if high < bound and low > -bound else None


def _integers_reach(part: Array, limit: int) -> float | None:
    low, high = int(part.min()), int(part.max())
    return float(max(-low, high)) if high <= limit and low >= -limit else None


def _misfit(plan: TensorPlan, part: Array, start: int, limit: int) -> NotFinite | OutOfRange:
    """Find the first value that does not fit and say where it stands."""
    if plan.kind == "integer":
        broken, relation = (part > limit) | (part < -limit), "at most"
    else:
        broken, relation = ~np.isfinite(part), "below"
        if broken.any():
            index, value = _first(plan, broken, part, start)
            detail = f"tensor {plan.name!r} has {value} at index {index}; all values must be finite"
            return NotFinite(detail, tensor=plan.name, index=index, value=value)
        broken = np.abs(part.astype(np.float64)) >= float(limit)
    index, value = _first(plan, broken, part, start)
    detail = f"tensor {plan.name!r} has {value} at index {index}; this round takes magnitudes {relation} {limit:.6g}"
    return OutOfRange(detail, tensor=plan.name, index=index, value=value)


def _first(plan: TensorPlan, broken: Array, part: Array, start: int) -> tuple[list[int], str]:
    at = int(np.argmax(broken))
    index = [int(i) for i in np.unravel_index(start + at, plan.shape)] if plan.shape else []
    return index, str(part[at])


def check_update(plan: SumPlan, update: Mapping[str, Values]) -> list[float]:
    """Check every value of an update before any is added.

    Returns
    -------
    list of float
        The largest magnitude of each summed tensor.

    Raises
    ------
    NotFinite, OutOfRange
        Name the tensor, the index and the value.
    """
    return [check_values(tensor, update[tensor.name], plan.weight_limit) for tensor in plan.summed]
