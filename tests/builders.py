"""Plans, updates and partials of a small model that has a tensor of every kind."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from fedtier.dtypes import Array, spec_of
from fedtier.entries import Entry, Received
from fedtier.exact import BoundedSum, ExactSum
from fedtier.header import encode_header
from fedtier.kinds import plan_tensor
from fedtier.rounds import BaseRound, ClientSettings, Contributor, PartialHeader, RoundPlan
from fedtier.tensors import write_arrays
from fedtier.wire import wire_layout, wire_specs, wire_windows

WEIGHT_LIMIT = 1 << 20


def model_arrays() -> dict[str, Array]:
    """Return a model: a float, a wide, an integer and a kept tensor."""
    return {
        "conv.weight": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
        "conv.bias": np.array([0.5, 1e12], np.float32),
        "steps": np.array(7, np.int64),
        "mask": np.array([[0, -np.inf]], np.float32),
    }


def trained(seed: int, model: Mapping[str, Array] | None = None) -> dict[str, Array]:
    """Return what a client made of the model."""
    arrays = dict(model or model_arrays())
    noise = np.random.default_rng(seed)
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            arrays[name] = array + noise.standard_normal(array.shape).astype(array.dtype)
        else:
            arrays[name] = array + np.asarray(seed, array.dtype)
    return arrays


def safetensors(arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a file of arrays."""
    file = io.BytesIO()
    write_arrays(file, arrays, metadata=metadata)
    return file.getvalue()


def update_bytes(arrays: Mapping[str, Array], num_examples: object = 10, metrics: object = None) -> bytes:
    """Return an update's body; `metrics` as text or as what becomes JSON, None for none."""
    metadata = {"num_examples": str(num_examples)}
    if metrics is not None:
        metadata["metrics"] = metrics if isinstance(metrics, str) else json.dumps(metrics)
    return safetensors(arrays, metadata)


def make_plan(arrays: Mapping[str, Array] | None = None, **changes: Any) -> RoundPlan:
    """Return the plan of a round: round 1, attempt 1, threshold 2 unless told."""
    model = model_arrays() if arrays is None else arrays
    content = safetensors(model)
    weight_limit = changes.get("weight_limit", WEIGHT_LIMIT)
    number = changes.get("round", 1)
    fields: dict[str, Any] = {
        "round": 1,
        "attempt": 1,
        "base": BaseRound(
            round=number - 1,
            sha256=hashlib.sha256(content).hexdigest(),
            bytes=len(content),
            url=f"/v1/rounds/{number - 1}/model",
        ),
        "tensors": tuple(plan_tensor(spec_of(name, array), array, weight_limit) for name, array in model.items()),
        "weight_limit": weight_limit,
        "max_examples": weight_limit // 4,
        "threshold": 2,
        "min_clients": 1,
        "deadline": None,
        "cohort": None,
        "final_round": None,
        "client": ClientSettings(),
    }
    return RoundPlan(**fields | changes)


def contributor(client_id: str, num_examples: int = 10, content: bytes | None = None) -> Contributor:
    """Return a contributor; its digest is of `content`, else of its name."""
    digest = hashlib.sha256(client_id.encode() if content is None else content).hexdigest()
    return Contributor(client_id=client_id, num_examples=num_examples, sha256=digest, metrics={})


def digest_of(client_id: str) -> str:
    """Return the digest that `contributor` gives a client."""
    return contributor(client_id).sha256


def update_entry(
    client_id: str, num_examples: int = 10, *, name: str | None = None, number: int = 1, attempt: int = 1
) -> Entry:
    """Return an update as a core sees it; its file does not exist."""
    who = contributor(client_id, num_examples, None if name is None else name.encode())
    file = name or f"update-{client_id}"
    return Entry("update", Received(file, Path(file), who.sha256), number, attempt, num_examples, (who,))


def partial_entry(
    *client_ids: str, num_examples: int = 10, name: str | None = None, number: int = 1, attempt: int = 1
) -> Entry:
    """Return a partial as a core sees it; its file does not exist."""
    who = tuple(contributor(client_id, num_examples) for client_id in client_ids)
    file = name or "partial-" + "-".join(client_ids)
    digest = hashlib.sha256(file.encode()).hexdigest()
    return Entry("partial", Received(file, Path(file), digest), number, attempt, num_examples * len(who), who)


def sum_of(plan: RoundPlan, updates: Iterable[tuple[Mapping[str, Array], int]]) -> ExactSum:
    """Return the exact sum of weighted updates."""
    total = ExactSum(plan.sums)
    for arrays, num_examples in updates:
        total.fold(arrays, num_examples)
    return total


def partial_bytes(
    plan: RoundPlan,
    members: Mapping[str, tuple[Mapping[str, Array], int]],
    *,
    header: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a partial's body: the sum of the members, by client id; `header` changes what its metadata says."""
    total = sum_of(plan, members.values())
    who = tuple(
        contributor(client_id, num_examples, update_bytes(arrays, num_examples))
        for client_id, (arrays, num_examples) in sorted(members.items())
    )
    honest = PartialHeader(attempt=plan.attempt, total_weight=total.total_weight, contributors=who)
    document = json.loads(honest.to_json()) | dict(header or {})
    return sum_bytes(total, {"partial": json.dumps(document)})


def sum_bytes(total: BoundedSum, metadata: Mapping[str, str]) -> bytes:
    """Return a sum in its wire form."""
    layout = wire_layout(total)
    specs = wire_specs(layout)
    data = {spec.name: b"" for spec in specs}
    for wire in layout:
        for windows in wire_windows(total, wire):
            for spec, window in zip(wire.parts, windows, strict=True):
                data[spec.name] += window.tobytes()
    return encode_header(specs, metadata) + b"".join(data.values())


def received(path: Path, content: bytes) -> Received:
    """Write a body to a file, as if it had been received."""
    path.write_bytes(content)
    return Received(path.name, path, hashlib.sha256(content).hexdigest())


def noon(minutes: float = 0) -> datetime:
    """Return a moment so many minutes after a fixed noon."""
    return datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(minutes=minutes)
