"""What an aggregator receives: an update or a partial, on disk, checked, with the contributors it stands for.

An entry is checked whole when it arrives; after that it can be added to any sum of its round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.bounds import check_sum
from fedtier.dtypes import Array, Values, Widened
from fedtier.exact import ExactSum
from fedtier.fields import parse_metrics, parse_num_examples
from fedtier.header import Header
from fedtier.kinds import CHUNK, SumPlan, TensorPlan, check_update
from fedtier.limbs import Int64s
from fedtier.magnitudes import Magnitudes, rounded_up, update_magnitudes
from fedtier.partial_headers import PARTIAL_HEADER_LIMIT, PARTIAL_KEY, contributor_bytes
from fedtier.problems import BadRequest, OutOfRange, Problem, SchemaMismatch, Unavailable
from fedtier.rounds import Contributor, PartialHeader, RoundPlan
from fedtier.tensors import TensorFile
from fedtier.wire import WireSum

_HEADER_SLACK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Received:
    """A body that lies complete in a file of its own.

    Parameters
    ----------
    name : str
        Made by the server, unique within its state directory.
    path : Path
    sha256 : str
        Of the body, in hex.
    """

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A checked update or partial.

    Parameters
    ----------
    kind : {"update", "partial"}
    body : Received
    round, attempt : int
        What it was checked against; an attempt that was over by then is the one that it is of.
    total_weight : int
        Examples of all contributors.
    contributors : tuple of Contributor
        Distinct; exactly one for an update.
    header : Header, optional
        Of the body, as it was checked; without it, the body is checked again when it is added.
    magnitudes : Magnitudes, optional
        Of what it adds, as it was checked; an entry of an attempt that is over has none, and is added to nothing.
    """

    kind: Literal["update", "partial"]
    body: Received
    round: int
    attempt: int
    total_weight: int
    contributors: tuple[Contributor, ...]
    header: Header | None = field(default=None, compare=False, repr=False)
    magnitudes: Magnitudes | None = field(default=None, compare=False, repr=False)
    contributor_bytes: int = field(init=False, compare=False, repr=False)
    """Of all contributors in a partial's header, at most; reckoned once, for who gathers entries asks often."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "contributor_bytes", sum(map(contributor_bytes, self.contributors)))

    @property
    def client_ids(self) -> frozenset[str]:
        """The ids of the contributors."""
        return frozenset(contributor.client_id for contributor in self.contributors)


@dataclass(frozen=True, slots=True)
class Counted:
    """The master has it, durably, in this round and attempt; `sha256` is the digest that counted."""

    round: int
    attempt: int
    sha256: str


Outcome: TypeAlias = Counted | Problem


def update_size_limit(plan: RoundPlan) -> int:
    """Return the most bytes an update of this round can have."""
    return plan.tensor_bytes + _update_header_limit(plan)


def partial_size_limit(plan: RoundPlan) -> int:
    """Return the most bytes a partial of this round can have."""
    return plan.sums.nbytes + PARTIAL_HEADER_LIMIT


def _update_header_limit(plan: RoundPlan) -> int:
    # Writers may order, space and pad the header otherwise: twice its length is ample.
    return 2 * plan.header_bytes + _HEADER_SLACK


def read_update(plan: RoundPlan, client_id: str, body: Received) -> Entry:
    """Check an update.

    Raises
    ------
    NotSafetensors, SchemaMismatch, NotFinite, OutOfRange, BadRequest
    """
    file = TensorFile(body.path, header_limit=_update_header_limit(plan))
    require_schema(plan, file)
    metadata = file.header.metadata
    num_examples = parse_num_examples(metadata.get("num_examples"))
    if num_examples > plan.max_examples:
        raise OutOfRange(
            f"num_examples is {num_examples}; one client may count at most {plan.max_examples} in this round",
            value=str(num_examples),
        )
    contributor = Contributor(
        client_id=client_id,
        num_examples=num_examples,
        sha256=body.sha256,
        metrics=parse_metrics(metadata.get("metrics")),
    )
    largest = check_update(plan.sums, update_values(plan.sums, file))
    magnitudes = update_magnitudes(plan.sums, largest, num_examples)
    header = _kept(plan.sums, file.header)
    return Entry("update", body, plan.round, plan.attempt, num_examples, (contributor,), header, magnitudes)


def read_partial(plan: RoundPlan, body: Received) -> Entry:
    """Check a partial. One of an attempt that is over is read, but not checked whole: only a core may say that it is.

    Raises
    ------
    NotSafetensors, SchemaMismatch, OutOfRange, DuplicateContributors, BadRequest
    Unavailable
        It is of an attempt that this plan knows nothing of, which may be the open one before it gets to a core.
    """
    file = TensorFile(body.path, header_limit=PARTIAL_HEADER_LIMIT)
    said = _partial_header(file)
    said.require_consistent()
    if said.attempt > plan.attempt:
        raise Unavailable("this server does not know of that attempt yet", retry_after=1)
    magnitudes = None
    if said.attempt == plan.attempt:
        # Of an attempt that is over the kinds and exponents may differ, and it is not going to be added.
        largest = check_sum(plan.sums, partial_sum(plan.sums, file, said.total_weight, len(said.contributors)))
        magnitudes = rounded_up(largest)
    header = _kept(plan.sums, file.header)
    return Entry("partial", body, plan.round, said.attempt, said.total_weight, said.contributors, header, magnitudes)


def _kept(plan: SumPlan, header: Header) -> Header:
    """Return what adding needs of a header, for as long as an entry waits.

    What the metadata say is in the entry, and would be twice in memory: a partial's names every contributor. The
    tensors of updates are the plan's; those of partials are their own.
    """
    return replace(header, metadata={}, specs=tuple(plan.upload_specs.get(spec, spec) for spec in header.specs))


def add_entry(total: ExactSum, entry: Entry) -> None:
    """Add a checked entry to a sum.

    Raises
    ------
    WeightLimit
        The sum has no room for it; nothing was changed.
    OSError
        The file cannot be read.
    """
    file = entry_file(entry)
    if entry.kind == "update":
        total.fold(update_values(total.plan, file), entry.total_weight)
    else:
        total.merge(partial_sum(total.plan, file, entry.total_weight, len(entry.contributors)))


def entry_file(entry: Entry, window: Array | None = None) -> TensorFile:
    """Open the file of a checked entry; `window` is as of `TensorFile`."""
    return TensorFile(entry.body.path, header_limit=PARTIAL_HEADER_LIMIT, header=entry.header, window=window)


def require_schema(plan: RoundPlan, file: TensorFile) -> None:
    """Check names, dtypes and shapes against the round's, in any order.

    A tensor may be half the size of the round's, where `TensorPlan.upload_dtypes` has it.

    Raises
    ------
    SchemaMismatch
        Names the first tensor that differs, what was expected and what came.
    """
    for tensor in plan.tensors:
        if tensor.name not in file:
            raise SchemaMismatch(
                f"tensor {tensor.name!r} is missing; expected {_taken(tensor)}",
                tensor=tensor.name,
                expected={"dtype": tensor.dtype, "shape": list(tensor.shape)},
                got=None,
            )
        got = file.spec(tensor.name)
        if got.shape != tensor.shape or got.dtype not in tensor.upload_dtypes:
            raise SchemaMismatch(
                f"tensor {tensor.name!r}: expected {_taken(tensor)}, got {got.dtype} {list(got.shape)}",
                tensor=tensor.name,
                expected={"dtype": tensor.dtype, "shape": list(tensor.shape)},
                got={"dtype": got.dtype, "shape": list(got.shape)},
            )
    for spec in file.header.specs:
        if spec.name not in plan.sums.names:
            raise SchemaMismatch(
                f"tensor {spec.name!r} is not in the round's schema; got {spec.dtype} {list(spec.shape)}",
                tensor=spec.name,
                expected=None,
                got={"dtype": spec.dtype, "shape": list(spec.shape)},
            )


def _taken(tensor: TensorPlan) -> str:
    """Return which dtypes and which shape of a tensor an update may carry, in words."""
    *others, last = tensor.upload_dtypes
    return f"{', '.join(others)} or {last} {list(tensor.shape)}" if others else f"{last} {list(tensor.shape)}"


def update_values(
    plan: SumPlan, file: TensorFile, window: npt.NDArray[np.float32] | None = None
) -> Mapping[str, Values]:
    """Return what an update adds to each summed tensor, by name: half-size tensors as the float32 that they are.

    Parameters
    ----------
    plan : SumPlan
    file : TensorFile
        Of an update that `require_schema` accepted.
    window : ndarray of float32, shape (CHUNK,), optional
        Written over with half-size values that are read; several updates may share one.
    """
    widened = np.empty(CHUNK, np.float32) if window is None else window

    def values(tensor: TensorPlan) -> Values:
        stored, dtype = file.values(tensor.name), file.spec(tensor.name).dtype
        return stored if dtype == tensor.dtype else Widened(stored, dtype, widened)

    return {tensor.name: values(tensor) for tensor in plan.summed}


def values_of(file: TensorFile) -> Mapping[str, Values]:
    """Return all tensors of a file, by name."""
    return {spec.name: file.values(spec.name) for spec in file.header.specs}


def _partial_header(file: TensorFile) -> PartialHeader:
    metadata = file.header.metadata
    if set(metadata) != {PARTIAL_KEY}:
        raise BadRequest(f"a partial's metadata has one key, {PARTIAL_KEY!r}; got {sorted(metadata)[:5]}")
    return PartialHeader.from_json(metadata[PARTIAL_KEY])


def partial_sum(
    plan: SumPlan, file: TensorFile, total_weight: int, contributors: int, window: Int64s | None = None
) -> WireSum:
    """Return what a partial's file adds to a sum; `window` is as of `WireSum`.

    Raises
    ------
    SchemaMismatch
        The file does not hold the sums of the plan.
    """
    for spec in file.header.specs:
        if spec.dtype not in {"I64", "U32", "I32", "I16", "I8"}:
            raise SchemaMismatch(f"the partial's tensor {spec.name!r} is {spec.dtype}; sums are integers")
    return WireSum(plan, values_of(file), total_weight=total_weight, contributors=contributors, window=window)
