"""The definition of exact sums (docs/architecture.md), once more: in whole numbers and fractions, for tests.

Slow, obvious, and independent: it shares no code with fedtier and uses no NumPy. Every
rounding that the definition names is done here by `nearest`, on exact fractions. A tensor
is its dtype, shape and little-endian bytes.
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

FLOAT_FORMATS = {"F64": (11, 52), "F32": (8, 23), "F16": (5, 10), "BF16": (8, 7)}  # bits of exponent and fraction
INTEGER_FORMATS = {"I64": "q", "I32": "i", "I16": "h", "I8": "b", "U64": "Q", "U32": "I", "U16": "H", "U8": "B"}
WIDE_ELEMENTS = 65_536
LIMBS, LIMB_BITS = 8, 39


@dataclass(frozen=True)
class Tensor:
    """A tensor as it lies in a file."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Plan:
    """How a tensor is summed."""

    kind: str
    exponent: int


class Refused(Exception):
    """The definition refuses this."""


def item_bytes(dtype: str) -> int:
    if dtype in FLOAT_FORMATS:
        return (1 + sum(FLOAT_FORMATS[dtype])) // 8
    return 1 if dtype == "BOOL" else struct.calcsize(INTEGER_FORMATS[dtype])


def numbers(tensor: Tensor) -> list[Fraction | None]:
    """Decode; None is not finite."""
    size = item_bytes(tensor.dtype)
    items = [tensor.data[i : i + size] for i in range(0, len(tensor.data), size)]
    if tensor.dtype in FLOAT_FORMATS:
        return [_decode(int.from_bytes(item, "little"), *FLOAT_FORMATS[tensor.dtype]) for item in items]
    if tensor.dtype == "BOOL":
        return [Fraction(item != b"\0") for item in items]
    return [Fraction(struct.unpack("<" + INTEGER_FORMATS[tensor.dtype], item)[0]) for item in items]


def _decode(bits: int, exponent_bits: int, fraction_bits: int) -> Fraction | None:
    sign = -1 if bits >> (exponent_bits + fraction_bits) else 1
    exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1)
    fraction = bits & ((1 << fraction_bits) - 1)
    if exponent == (1 << exponent_bits) - 1:
        return None
    significand = fraction if exponent == 0 else fraction | 1 << fraction_bits
    lowest = max(exponent, 1) - ((1 << (exponent_bits - 1)) - 1) - fraction_bits
    return sign * significand * power(lowest)


def power(exponent: int) -> Fraction:
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def nearest(value: Fraction, dtype: str) -> Fraction:
    """Round to the nearest number of a format, half to even; what rounds past the largest is refused."""
    exponent_bits, fraction_bits = FLOAT_FORMATS[dtype]
    bias = (1 << (exponent_bits - 1)) - 1
    if value == 0:
        return Fraction(0)
    unit = power(max(_floor_log2(abs(value)), 1 - bias) - fraction_bits)
    rounded = round(value / unit) * unit  # Fraction rounds half to even
    if abs(rounded) >= power(bias + 1):
        raise Refused(f"{value} overflows {dtype}")
    return rounded


def _floor_log2(value: Fraction) -> int:
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if power(guess) <= value else guess - 1


def encode(value: Fraction, dtype: str) -> bytes:
    """Return the bytes of a number that its format holds."""
    if dtype == "BOOL":
        return bytes([value != 0])
    if dtype in INTEGER_FORMATS:
        return struct.pack("<" + INTEGER_FORMATS[dtype], int(value))
    exponent_bits, fraction_bits = FLOAT_FORMATS[dtype]
    bias = (1 << (exponent_bits - 1)) - 1
    bits = 0
    if value:
        exponent = max(_floor_log2(abs(value)), 1 - bias)
        significand = abs(value) / power(exponent - fraction_bits)
        assert significand.denominator == 1, f"{value} is no {dtype}"
        bits = significand.numerator
        if bits >> fraction_bits:  # normal: the leading bit is implied
            bits += (exponent + bias - 1) << fraction_bits
        if value < 0:
            bits |= 1 << (exponent_bits + fraction_bits)
    return bits.to_bytes(item_bytes(dtype), "little")


def weight_bits(weight_limit: int) -> int:
    return (weight_limit - 1).bit_length()


@functools.lru_cache(maxsize=64)
def plan_of(tensor: Tensor, weight_limit: int) -> Plan:
    """Choose kind and exponent from the opening model."""
    values = numbers(tensor)
    if tensor.dtype not in FLOAT_FORMATS:
        plan = Plan("integer", 0)
    elif None in values:
        return Plan("kept", 0)
    elif len(tensor.shape) <= 1 and len(values) <= WIDE_ELEMENTS:
        plan = Plan("wide", 149)
    else:
        largest = max([abs(v) for v in values if v is not None], default=Fraction(0))
        magnitude = nearest(256 * max(Fraction(1), largest), "F64")
        k = _floor_log2(magnitude) + 1
        if magnitude == power(k - 1):
            k -= 1
        plan = Plan("float", 62 - weight_bits(weight_limit) - k)
        if not -900 <= plan.exponent <= 900:
            raise Refused(f"exponent {plan.exponent}")
    require_valid(plan, tensor, weight_limit)
    return plan


def require_valid(plan: Plan, tensor: Tensor, weight_limit: int) -> None:
    """Refuse what an aggregator refuses."""
    if plan.kind == "kept":
        return
    bits = 128 if plan.kind == "wide" else 62 - weight_bits(weight_limit) - plan.exponent
    for value in numbers(tensor):
        if value is None:
            raise Refused("not finite")
        if abs(value) >= power(bits) and not (plan.kind == "integer" and abs(value) == power(bits)):
            raise Refused(f"{value} is out of range")


def terms(plan: Plan, tensor: Tensor, num_examples: int) -> list[int]:
    """Return what an update adds: ``rint(w * (n * 2**e))`` in float64, or ``n * w``."""
    values = [value for value in numbers(tensor) if value is not None]
    if plan.kind == "integer":
        return [num_examples * int(value) for value in values]
    scale = nearest(num_examples * power(plan.exponent), "F64")
    return [round(nearest(value * scale, "F64")) for value in values]


def limbs_of(term: int) -> list[int]:
    """Split one term of a wide tensor, high first, each limb to the nearest, half to even."""
    limbs = []
    for limb in range(LIMBS):
        unit = 1 << LIMB_BITS * (LIMBS - 1 - limb)
        limbs.append(round(Fraction(term, unit)))
        term -= limbs[-1] * unit
    return limbs


def total(plan: Plan, updates: Sequence[tuple[Tensor, int]]) -> list[int]:
    """Return the sum, one whole number per element."""
    return [sum(column) for column in zip(*(terms(plan, t, n) for t, n in updates), strict=True)]


def mean(plan: Plan, updates: Sequence[tuple[Tensor, int]]) -> bytes:
    """Return the bytes of the weighted mean of a summed tensor."""
    return mean_of_sum(plan, updates[0][0].dtype, total(plan, updates), sum(n for _, n in updates))


def mean_of_sum(plan: Plan, dtype: str, entries: Sequence[int], weight: int) -> bytes:
    """Return the bytes of the mean that a sum is divided to, whoever added it up."""
    found = []
    for entry in entries:
        if plan.kind == "integer":
            found.append(Fraction(round(Fraction(entry, weight))))
            continue
        divisor = nearest(weight * power(plan.exponent), "F64")
        value = nearest(nearest(Fraction(entry), "F64") / divisor, "F64")
        for step in ["F64"] if dtype == "F64" else ["F32"] if dtype == "F32" else ["F32", dtype]:
            value = nearest(value, step)
        found.append(value)
    return b"".join(encode(value, dtype) for value in found)


def error_bound(plan: Plan, updates: Sequence[tuple[Tensor, int]], index: int) -> Fraction:
    """Return the largest |mean - true mean| that the definition allows one element of a float tensor."""
    dtype = updates[0][0].dtype
    weight = sum(n for _, n in updates)
    exact = true_mean(updates, index)
    bound = Fraction(len(updates), 2 * weight) / power(plan.exponent)
    if dtype == "F64":
        bound += power(-53) * max(abs(numbers(t)[index] or Fraction(0)) for t, _ in updates)
    computed = abs(exact) + bound
    bound += power(-52) * (abs(exact) + bound)
    for step in [] if dtype == "F64" else ["F32"] if dtype == "F32" else ["F32", dtype]:
        exponent_bits, fraction_bits = FLOAT_FORMATS[step]
        smallest = power(1 - ((1 << (exponent_bits - 1)) - 1) - fraction_bits)
        bound += max(smallest / 2, 2 * computed * power(-fraction_bits - 1))
    return bound


def true_mean(updates: Sequence[tuple[Tensor, int]], index: int) -> Fraction:
    return sum((n * (numbers(t)[index] or Fraction(0)) for t, n in updates), Fraction(0)) / sum(n for _, n in updates)


def round_model(
    base: Sequence[tuple[str, Tensor]], updates: Sequence[tuple[dict[str, Tensor], int]], weight_limit: int
) -> bytes:
    """Return the file of the model that FedAvg makes of a round, without metadata."""
    parts = []
    for name, tensor in base:
        plan = plan_of(tensor, weight_limit)
        parts.append(tensor.data if plan.kind == "kept" else mean(plan, [(u[name], n) for u, n in updates]))
    return model_file(base, parts)


def model_file(base: Sequence[tuple[str, Tensor]], parts: Sequence[bytes]) -> bytes:
    """Return the file of a model that has the tensors of another, with these bytes."""
    ends = [0]
    for part in parts:
        ends.append(ends[-1] + len(part))
    header = json.dumps(
        {
            name: {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": list(span)}
            for (name, tensor), span in zip(base, pairwise(ends), strict=True)
        },
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + b"".join(parts)
