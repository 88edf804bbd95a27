"""Whether a published round is what its manifest says. Pure: manifests and models in, checks out.

A check is a claim that holds or does not. What the protocol allows, but a person may want
to know of (a round that was closed early), is a remark to a claim that holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from fedtier.dtypes import Values, widen
from fedtier.kinds import CHUNK, TensorPlan, plan_tensor, value_limit
from fedtier.problems import Problem
from fedtier.rounds import Manifest, RoundManifest
from fedtier.tensors import TensorFile

_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Check:
    """A claim about a round, and whether it holds.

    Parameters
    ----------
    name : str
        By which programs know the check: ``base``, ``total-examples``.
    claim : str
        What was checked, as a sentence that is true when the check is passed.
    failure : str or None
        Why it is not true: the value seen and the value wanted.
    remark : str or None
        What a person should know although the claim holds.
    """

    name: str
    claim: str
    failure: str | None = None
    remark: str | None = None


def check_succession(manifest: Manifest, before: Manifest | None, *, attempt_above: int) -> Iterator[Check]:
    """Check a round against the round before it and the attempt of what came after it.

    Parameters
    ----------
    manifest : Manifest
    before : Manifest or None
        Of the round that ``previous`` leads to; None for round 0.
    attempt_above : int
        Attempt of the next round, or of head for the newest: each publishing raises it.
    """
    late = manifest.attempt >= attempt_above
    yield Check(
        "attempt",
        "its attempt lies below that of what came after it",
        f"attempt {manifest.attempt} is not below {attempt_above}" if late else None,
    )
    if not isinstance(manifest, RoundManifest) or before is None:
        return
    previous = manifest.previous.round
    wrong = previous != manifest.round - 1
    yield Check(
        "previous",
        "it follows the round before it",
        f"its predecessor is round {previous}, not {manifest.round - 1}" if wrong else None,
    )
    base = manifest.base
    seen = (base.round, base.sha256, base.bytes)
    wanted = (before.round, before.model.sha256, before.model.bytes)
    yield Check(
        "base",
        "its base is the model of the round before it",
        None if seen == wanted else f"its base is {_triple(seen)}, the model before is {_triple(wanted)}",
    )


def _triple(model: tuple[int, str, int]) -> str:
    number, sha256, count = model
    return f"{sha256[:12]} of round {number} with {count} bytes"


def check_contributors(manifest: RoundManifest) -> Iterator[Check]:
    """Check who is in a round, and how much they count for."""
    ids = [contributor.client_id for contributor in manifest.contributors]
    disorder = next(((one, two) for one, two in pairwise(ids) if one >= two), None)
    yield Check(
        "contributors",
        "its contributors are distinct and sorted",
        None if disorder is None else f"{disorder[0]} is followed by {disorder[1]}",
    )
    strangers = [client_id for client_id in ids if not manifest.selects(client_id)]
    yield Check(
        "cohort",
        "its contributors are in its cohort",
        f"not selected: {_some(strangers)}" if strangers else None,
    )
    yield _quorum(manifest)
    total = sum(contributor.num_examples for contributor in manifest.contributors)
    yield Check(
        "total-examples",
        "its examples are the sum of the contributors'",
        None if total == manifest.total_examples else f"it says {manifest.total_examples}, they have {total}",
    )
    over = manifest.total_examples > manifest.weight_limit
    yield Check(
        "weight-limit",
        "its examples keep to the round's limit",
        f"{manifest.total_examples} is more than {manifest.weight_limit}" if over else None,
    )
    heavy = [one.client_id for one in manifest.contributors if one.num_examples > manifest.max_examples]
    yield Check(
        "max-examples",
        "no client counts for more than the round wants of one",
        remark=f"more than {manifest.max_examples}, let through by a worker: {_some(heavy)}" if heavy else None,
    )


def _quorum(manifest: RoundManifest) -> Check:
    count, threshold = len(manifest.contributors), manifest.threshold
    least = min(manifest.min_clients, threshold)
    claim = "it has as many clients as it needs"
    if count < least:
        return Check("quorum", claim, f"{count} clients, but at least {least} are needed")
    if count >= threshold:
        return Check("quorum", claim)
    overdue = manifest.deadline is not None and manifest.closed_at >= manifest.deadline
    why = "closed at its deadline" if overdue else "closed by the operator, or full by its examples"
    return Check("quorum", claim, remark=f"{count} clients where {threshold} close a round: {why}")


def check_times(manifest: RoundManifest, before: Manifest | None) -> Check:
    """Check that a round was opened, closed and published in this order, after the round before it."""
    times = {"opened": manifest.opened_at, "closed": manifest.closed_at, "published": manifest.published_at}
    claim = "it was opened, closed and published in this order"
    for (one, earlier), (two, later) in pairwise(times.items()):
        if later < earlier:
            return Check("times", claim, f"{two} at {later.isoformat()}, but {one} at {earlier.isoformat()}")
    if isinstance(before, RoundManifest) and manifest.opened_at < before.published_at:
        opened, published = manifest.opened_at.isoformat(), before.published_at.isoformat()
        remark = f"opened at {opened}, before the round before it was published at {published}: the clock was set back"
        return Check("times", claim, remark=remark)
    return Check("times", claim)


def check_size(manifest: Manifest, size: int) -> Check:
    """Check a model's size in bytes."""
    wanted = manifest.model.bytes
    failure = None if size == wanted else f"the model has {size} bytes, not {wanted}"
    return Check("model-bytes", "its model has the size that the manifest says", failure)


def check_plan(manifest: RoundManifest, base: TensorFile) -> Check:
    """Check names, dtypes, shapes, order, kinds and exponents against what the base model makes of them."""
    claim = "its tensors' kinds and exponents follow from the base model"
    try:
        planned = [plan_tensor(spec, base.values(spec.name), manifest.weight_limit) for spec in base.header.specs]
    except Problem as problem:
        return Check("plan", claim, problem.detail)
    for seen, wanted in zip(manifest.tensors, planned, strict=False):
        if seen != wanted:
            return Check("plan", claim, f"{_plan_words(seen)} where the base gives {_plan_words(wanted)}")
    if len(manifest.tensors) != len(planned):
        return Check("plan", claim, f"{len(manifest.tensors)} tensors where the base has {len(planned)}")
    return Check("plan", claim)


def _plan_words(plan: TensorPlan) -> str:
    return f"{plan.name!r} {plan.dtype} {list(plan.shape)} {plan.kind} 2^-{plan.exponent}"


def check_model(manifest: RoundManifest, model: TensorFile, base: TensorFile) -> Iterator[Check]:
    """Check a model against its round's schema and the base model."""
    seen, wanted = model.header.specs, tuple(tensor.spec for tensor in manifest.tensors)
    differs = next(
        (f"{one.name!r} {one.dtype} {list(one.shape)}" for one, two in zip(seen, wanted, strict=False) if one != two),
        f"{len(seen)} tensors where the schema has {len(wanted)}",
    )
    same = seen == wanted
    yield Check(
        "schema",
        "its model's tensors are those of the schema, in its order",
        None if same else f"the model differs at {differs}",
    )
    same_text = model.header.metadata == base.header.metadata
    yield Check(
        "metadata",
        "its model's metadata is the base model's",
        None if same_text else f"it is {_short(model.header.metadata)}, not {_short(base.header.metadata)}",
    )
    if same:
        yield _kept(manifest, model, base)
        yield _bounded(manifest, model)


def _kept(manifest: RoundManifest, model: TensorFile, base: TensorFile) -> Check:
    changed = [
        tensor.name for tensor in manifest.tensors if tensor.kind == "kept" and not _same(model, base, tensor.name)
    ]
    failure = f"changed: {_some(changed)}" if changed else None
    return Check("kept", "its kept tensors are the base model's", failure)


def _same(model: TensorFile, base: TensorFile, name: str) -> bool:
    if name not in base or base.spec(name) != model.spec(name):
        return False
    one, two = model.values(name), base.values(name)
    windows = (slice(start, start + CHUNK) for start in range(0, one.size, CHUNK))
    return all(one[window].tobytes() == two[window].tobytes() for window in windows)


def _bounded(manifest: RoundManifest, model: TensorFile) -> Check:
    claim = "its values are what a mean of valid updates can be"
    for tensor in manifest.tensors:
        if tensor.kind != "kept":
            limit = value_limit(tensor, manifest.weight_limit)
            outside = _outside(model.values(tensor.name), tensor.dtype, limit)
            if outside is not None:
                return Check("bounds", claim, f"tensor {tensor.name!r} has {outside}, beyond {float(limit):g}")
    return Check("bounds", claim)


def _outside(values: Values, dtype: str, limit: int) -> str | None:
    """Return the first value whose magnitude exceeds a limit or is none, or None."""
    flat = values.ravel()
    for start in range(0, flat.size, CHUNK):
        part = widen(flat[start : start + CHUNK], dtype)
        low, high = part.min(), part.max()
        # Compared as Python's numbers, which neither round nor overflow; NaN compares false.
        if not (low.item() >= -limit and high.item() <= limit):
            wrong = ~(np.abs(part.astype(np.float64)) <= float(limit))
            return str(part[int(np.argmax(wrong))])
    return None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _short(metadata: Mapping[str, str]) -> str:
    return str(dict(metadata))[:80]
