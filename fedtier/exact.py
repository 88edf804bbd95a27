"""Exact sums of weighted tensors: integer addition, so order, grouping and retries leave no trace.

A floating-point tensor is scaled by a power of two that the round fixes, rounded
once to an integer, and from there on only integers are added (`fedtier.kinds`).
This module knows numbers only: no file, clock or network.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from fedtier.dtypes import STORAGE, Array, Values, round_to_bfloat16
from fedtier.kinds import CHUNK, LIMBS, SUM_BITS, SumPlan, TensorPlan
from fedtier.limbs import LIMB_BITS, Int64s, add_to_limbs, limbs_to_float
from fedtier.problems import StartupError, WeightLimit
from fedtier.terms import TermAdder

MAX_CONTRIBUTORS: Final = 1 << (SUM_BITS - LIMB_BITS + 1)
"""Lower limbs stay within 2**62 for so many contributors, whatever the weight limit."""


class SumView(Protocol):
    """An exact sum that can be read: in memory, on its way, or still in the files of its members."""

    plan: SumPlan
    total_weight: int
    contributors: int

    def read(self, tensor: TensorPlan, start: int, stop: int) -> Int64s:
        """Return elements ``[start, stop)`` of a tensor's flattened sum, at most `CHUNK`; valid until the next call."""
        ...


class BoundedSum(SumView, Protocol):
    """A sum of which is known how large it is."""

    def bound(self, tensor: TensorPlan) -> float:
        """Return a number b: no element of a tensor's sum is more than b or less than ``-b - 1``."""
        ...


class ExactSum:
    """The sum of any set of weighted updates, in memory: a commutative monoid.

    With ``a``, ``b``, ``c`` sums of the same plan and ``0`` the sum of nothing:

    - ``a + b == b + a`` and ``(a + b) + c == a + (b + c)``, to the bit;
    - ``a + 0 == a``, to the bit;
    - folding an update adds a term that depends on the update alone;
    - `mean` of equal sums gives equal bytes.

    The operations change the sum in place, so that one of 100 million parameters needs
    its 8 bytes each once. Nothing is changed when one of them raises, but for an `OSError`
    in reading what is added: unless nothing was in the sum, it can only be cleared then.

    Parameters
    ----------
    plan : SumPlan

    Examples
    --------
    >>> from fedtier.kinds import plan_tensor
    >>> from fedtier.tensors import TensorSpec
    >>> values = np.float32([1.0, 2.0])
    >>> plan = SumPlan((plan_tensor(TensorSpec("w", "F32", (2,)), values, 2**28),), 2**28)
    >>> total = ExactSum(plan)
    >>> total.fold({"w": values}, 1)
    >>> total.fold({"w": values * 4}, 2)
    >>> [chunk.tolist() for chunk in total.mean(plan.tensors[0])]
    [[3.0, 6.0]]
    """

    def __init__(self, plan: SumPlan) -> None:
        self.plan = plan
        self.total_weight = 0
        self.contributors = 0
        self._sums = {tensor.name: np.empty(tensor.sum_length, np.int64) for tensor in plan.summed}
        self._empty = True
        self._broken = False
        self._adder = TermAdder()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExactSum):
            return NotImplemented
        return (
            self.plan == other.plan
            and self.total_weight == other.total_weight
            and self.contributors == other.contributors
            and all(np.array_equal(values, other._settled()[name]) for name, values in self._settled().items())
        )

    def __hash__(self) -> NoReturn:
        raise TypeError("a sum changes in place, so it has no hash")

    def clear(self, plan: SumPlan | None = None) -> None:
        """Make this the sum of nothing, keeping its memory for the next round.

        Parameters
        ----------
        plan : SumPlan, optional
            The plan from now on, where it changes.
        """
        if plan is not None:
            before = self._sums
            self.plan = plan
            self._sums = {
                tensor.name: kept
                if (kept := before.get(tensor.name)) is not None and kept.size == tensor.sum_length
                else np.empty(tensor.sum_length, np.int64)
                for tensor in plan.summed
            }
        self.total_weight = self.contributors = 0
        self._empty, self._broken = True, False

    def fold(self, update: Mapping[str, Values], num_examples: int) -> None:
        """Add an update that `check_update` accepted.

        Parameters
        ----------
        update : Mapping of str to Values
            Stored values of every tensor of the plan.
        num_examples : int
            The update's weight, ``1 <= num_examples <= weight_limit``.

        Raises
        ------
        WeightLimit
            The sum has no room for so many examples.
        OSError
            The update cannot be read to its end.
        """
        require_room(self, num_examples, 1)
        self._fold(update, num_examples)

    def merge(self, other: SumView) -> None:
        """Add another sum of the same plan, whose bounds were checked (`fedtier.bounds`).

        Raises
        ------
        WeightLimit
            The sum has no room for so many examples or contributors.
        OSError
            The other sum cannot be read to its end.
        """
        require_room(self, other.total_weight, other.contributors)
        self._merge(other)

    def read(self, tensor: TensorPlan, start: int, stop: int) -> Int64s:
        """Return elements ``[start, stop)`` of a tensor's flattened sum, as a view."""
        return self._settled()[tensor.name][start:stop]

    def bound(self, tensor: TensorPlan) -> float:
        """Return the least number b: no element of a tensor's sum is more than b or less than ``-b - 1``."""
        sums = self._settled()[tensor.name]
        return float(max(-1 - int(sums.min()), int(sums.max()))) if sums.size else 0.0

    def mean(self, tensor: TensorPlan) -> Iterator[Array]:
        """Yield the weighted mean of a summed tensor, flattened, in chunks of its storage dtype.

        Each chunk has memory of its own. The mean's error is at most ``K/(2*N) * 2**-exponent + 2**-52 * |mean|``
        plus the casts, with K contributors and total weight N. Only correctly rounded operations are used, so
        the bytes are the same on every IEEE 754 machine. Zero is always ``+0.0``.

        Raises
        ------
        ValueError
            Nothing was summed, or the tensor is kept.
        """
        if self.total_weight < 1 or tensor.kind == "kept":
            raise ValueError(f"tensor {tensor.name!r} has no mean: total weight {self.total_weight}")
        step = CHUNK // LIMBS if tensor.kind == "wide" else CHUNK
        elements = tensor.spec.elements
        for start in range(0, elements, step):
            yield self._mean_chunk(tensor, start, min(start + step, elements))

    def _mean_chunk(self, tensor: TensorPlan, start: int, stop: int) -> Array:
        sums = self._settled()[tensor.name]
        if tensor.kind == "integer":
            return _divide_half_even(sums[start:stop], self.total_weight).astype(STORAGE[tensor.dtype])
        if tensor.kind == "wide":
            total = limbs_to_float(sums.reshape(LIMBS, -1)[:, start:stop])
        else:
            total = self._adder.scaled[: stop - start]
            np.copyto(total, sums[start:stop])
        np.divide(total, math.ldexp(self.total_weight, tensor.exponent), out=total)
        return _cast(total, tensor.dtype)

    def _settled(self) -> Mapping[str, Int64s]:
        """Return the sums, with zeros where nothing was added yet."""
        self._require_whole()
        if self._empty:
            for values in self._sums.values():
                values.fill(0)
            self._empty = False
        return self._sums

    def _require_whole(self) -> None:
        if self._broken:
            raise OSError(errno.EIO, "the sum holds a part of what could not be read to its end")

    @contextmanager
    def _changing(self) -> Iterator[bool]:
        """Yield whether all values are to be written over rather than added to: what is in an empty sum is old."""
        self._require_whole()
        first = self._empty
        try:
            yield first
        except BaseException:
            self._broken = not first
            raise
        self._empty = False

    def _fold(self, update: Mapping[str, Values], num_examples: int) -> None:
        # All tensors are looked up before any is added: a missing one leaves the sum as it was.
        flattened = [update[tensor.name].ravel() for tensor in self.plan.summed]
        with self._changing() as first:
            for tensor, flat in zip(self.plan.summed, flattened, strict=True):
                sums = self._sums[tensor.name]
                if tensor.kind == "wide":
                    add_to_limbs(sums.reshape(LIMBS, -1), flat, tensor, num_examples, first=first)
                    continue
                for start in range(0, flat.size, CHUNK):
                    target, part = sums[start : start + CHUNK], flat[start : start + CHUNK]
                    self._adder.add(target, part, tensor, num_examples, first=first)
        self.total_weight += num_examples
        self.contributors += 1

    def _merge(self, other: SumView) -> None:
        with self._changing() as first:
            for tensor in self.plan.summed:
                sums = self._sums[tensor.name]
                for start in range(0, sums.size, CHUNK):
                    target = sums[start : start + CHUNK]
                    part = other.read(tensor, start, start + target.size)
                    np.copyto(target, part) if first else np.add(target, part, out=target)
        self.total_weight += other.total_weight
        self.contributors += other.contributors


def require_room(total: SumView, weight: int, contributors: int) -> None:
    """Check that a sum has room for so many more examples and contributors.

    Raises
    ------
    WeightLimit
    """
    if total.total_weight + weight > total.plan.weight_limit:
        raise WeightLimit(
            f"{weight} more examples on top of {total.total_weight} exceed the round's limit "
            f"of {total.plan.weight_limit}"
        )
    if total.contributors + contributors > MAX_CONTRIBUTORS:
        raise WeightLimit(f"the round has more than {MAX_CONTRIBUTORS} contributors")


def _divide_half_even(sums: Int64s, divisor: int) -> Int64s:
    quotient, remainder = np.divmod(sums, divisor)
    twice = remainder * 2
    up = (twice > divisor) | ((twice == divisor) & (quotient % 2 == 1))
    rounded: Int64s = quotient + up
    return rounded


def _cast(mean: npt.NDArray[np.float64], dtype: str) -> Array:
    if dtype == "F64":
        return mean + 0.0
    single = mean.astype(np.float32)
    if dtype == "F32":
        return np.add(single, np.float32(0.0), out=single)
    if dtype == "F16":
        return single.astype(np.float16) + np.float16(0.0)
    # A bit pattern cannot shed its sign by adding zero: 0x8000 is BF16's -0.0.
    bits = round_to_bfloat16(single)
    return np.where(bits == 0x8000, np.uint16(0), bits).astype(np.uint16)


def check_arithmetic() -> None:
    """Check that this process keeps subnormal numbers.

    Raises
    ------
    StartupError
        Flush-to-zero is on, so sums would differ from other machines'.
    """
    for number in (np.float64(5e-324), np.float32(1e-45)):
        if np.multiply(np.full(4, number), number.dtype.type(1)).min() == 0:
            raise StartupError(
                f"this process flushes subnormal {number.dtype} numbers to zero, which makes sums inexact; "
                "turn flush-to-zero off (torch.set_flush_denormal(False))"
            )
