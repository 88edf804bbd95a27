"""The exact sum of entries that lie in files, worked out a window at a time: it takes no memory of a model's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from fedtier.dtypes import Values
from fedtier.entries import Entry, entry_file, partial_sum, update_values
from fedtier.exact import require_room
from fedtier.kinds import CHUNK, LIMBS, SumPlan, TensorPlan
from fedtier.limbs import Int64s, add_to_limbs
from fedtier.magnitudes import Magnitudes
from fedtier.terms import TermAdder
from fedtier.wire import WireSum


class EntryUnreadable(Exception):
    """The file of one entry cannot be read; the others may.

    Parameters
    ----------
    entry : Entry
    error : OSError
    """

    def __init__(self, entry: Entry, error: OSError) -> None:
        super().__init__(str(error))
        self.entry = entry
        self.error = error


class _Member(Protocol):
    """What an entry adds."""

    def add(self, target: Int64s, tensor: TensorPlan, start: int, *, first: bool) -> None:
        """Add a window of a flattened sum, or write it where it is the first."""
        ...

    def add_wide(self, target: Int64s, tensor: TensorPlan, *, first: bool) -> None:
        """Add all limbs of a wide tensor, or write them where they are the first."""
        ...


class EntrySum:
    """The sum of entries, readable like one in memory: each window is read from all files, and forgotten.

    The files are held open, and are read as often as windows are asked for.

    Parameters
    ----------
    plan : SumPlan
    entries : sequence of Entry
        Checked ones, at least one.

    Raises
    ------
    WeightLimit
        The sum has no room for all of them.
    EntryUnreadable
        Names the first whose file cannot be opened. Reading raises it, too.
    """

    def __init__(self, plan: SumPlan, entries: Sequence[Entry]) -> None:
        self.plan = plan
        self.total_weight = 0
        self.contributors = 0
        for entry in entries:
            require_room(self, entry.total_weight, len(entry.contributors))
            self.total_weight += entry.total_weight
            self.contributors += len(entry.contributors)
        bounds = np.stack([_magnitudes_of(entry) for entry in entries]).sum(axis=0, dtype=np.float64)
        self._bounds = {tensor.name: float(bound) for tensor, bound in zip(plan.summed, bounds, strict=True)}
        self._target = np.empty(CHUNK, np.int64)
        self._wide: tuple[str | None, Int64s] = None, self._target
        self._entries = entries
        self._members = _members_of(plan, entries)

    def bound(self, tensor: TensorPlan) -> float:
        """Return a number that no element of a tensor's sum exceeds in magnitude, as the entries' check found."""
        return self._bounds[tensor.name]

    def read(self, tensor: TensorPlan, start: int, stop: int) -> Int64s:
        """Return elements ``[start, stop)`` of a tensor's flattened sum, at most `CHUNK`; valid until the next call."""
        if tensor.kind == "wide":
            return self._limbs(tensor)[start:stop]
        target = self._target[: stop - start]
        for number, member in enumerate(self._members):
            try:
                member.add(target, tensor, start, first=number == 0)
            except OSError as error:
                raise EntryUnreadable(self._entries[number], error) from error
        return target

    def _limbs(self, tensor: TensorPlan) -> Int64s:
        """Return all of a wide tensor's flattened sum; such tensors are small, and limbs are not added by windows."""
        if self._wide[0] != tensor.name:
            limbs = np.empty((LIMBS, tensor.spec.elements), np.int64)
            for number, member in enumerate(self._members):
                try:
                    member.add_wide(limbs, tensor, first=number == 0)
                except OSError as error:
                    raise EntryUnreadable(self._entries[number], error) from error
            self._wide = tensor.name, limbs.reshape(-1)
        return self._wide[1]


class _Update:
    def __init__(self, values: Mapping[str, Values], num_examples: int, adder: TermAdder) -> None:
        self._values = values
        self._num_examples = num_examples
        self._adder = adder

    def add(self, target: Int64s, tensor: TensorPlan, start: int, *, first: bool) -> None:
        part = self._values[tensor.name].ravel()[start : start + target.size]
        self._adder.add(target, part, tensor, self._num_examples, first=first)

    def add_wide(self, target: Int64s, tensor: TensorPlan, *, first: bool) -> None:
        add_to_limbs(target, self._values[tensor.name].ravel(), tensor, self._num_examples, first=first)


class _Partial:
    def __init__(self, sums: WireSum) -> None:
        self._sums = sums

    def add(self, target: Int64s, tensor: TensorPlan, start: int, *, first: bool) -> None:
        part = self._sums.read(tensor, start, start + target.size)
        np.copyto(target, part) if first else np.add(target, part, out=target)

    def add_wide(self, target: Int64s, tensor: TensorPlan, *, first: bool) -> None:
        flat = target.reshape(-1)
        for start in range(0, flat.size, CHUNK):
            self.add(flat[start : start + CHUNK], tensor, start, first=first)


def _members_of(plan: SumPlan, entries: Sequence[Entry]) -> list[_Member]:
    """Open all files; as members are read in turns, they share buffers."""
    adder, window, scratch = TermAdder(), np.empty(8 * CHUNK, np.uint8), np.empty(CHUNK, np.int64)
    members: list[_Member] = []
    for entry in entries:
        try:
            file = entry_file(entry, window)
        except OSError as error:
            raise EntryUnreadable(entry, error) from error
        if entry.kind == "update":
            values = update_values(plan, file, scratch.view(np.float32)[:CHUNK])
            members.append(_Update(values, entry.total_weight, adder))
        else:
            members.append(_Partial(partial_sum(plan, file, entry.total_weight, len(entry.contributors), scratch)))
    return members


def _magnitudes_of(entry: Entry) -> Magnitudes:
    assert entry.magnitudes is not None, "it was checked against the attempt that it is added in"
    return entry.magnitudes
