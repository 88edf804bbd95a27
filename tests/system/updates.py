"""What clients send: ten updates with every dtype, what the definition makes of them, and how they are sent."""

from __future__ import annotations

import hashlib
import json
import math
import random
import struct
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from client.events import SavedUpdate
from client.transport import Transport
from fedtier.dtypes import TensorSpec
from fedtier.header import encode_header
from fedtier.problems import Problem
from fedtier.rounds import DEFAULT_WEIGHT_LIMIT, RoundManifest, UpdateReceipt
from fedtier.upstream import Upstream
from tests import reference
from tests.reference import Tensor
from tests.system.federation import PATIENCE
from tests.system.guards import Guard

NUM_EXAMPLES: Final = (1, 2, 3, 50, 60, 70, 600, 601, 999, 6000)
_NO_BASE: Final = "0" * 64
_MINUS_INFINITY: Final = bytes.fromhex("000080ff")


@dataclass(frozen=True)
class Update:
    """An update's file."""

    client_id: str
    num_examples: int
    path: Path
    sha256: str


@dataclass(frozen=True)
class TenUpdates:
    """Ten updates, the model they were trained from, and the SHA-256 of the model that comes of them."""

    model: Path
    updates: tuple[Update, ...]
    mean_sha256: str

    def are_exactly_in(self, manifest: RoundManifest) -> bool:
        """Return whether a round counted each of them once, and nobody else, and made the predicted bytes."""
        listed = [(c.client_id, c.num_examples, c.sha256) for c in manifest.contributors]
        sent = [(u.client_id, u.num_examples, u.sha256) for u in self.updates]
        return (
            listed == sorted(sent)
            and manifest.total_examples == sum(NUM_EXAMPLES)
            and manifest.model.sha256 == self.mean_sha256
        )


def make_ten_updates(folder: Path) -> TenUpdates:
    """Write the model and the updates.

    No weight of more than one dimension exceeds 1, so every round opens with the same
    exponents: the same ten updates then make the same model in round 1 and in round 3.
    """
    rng = random.Random("ten updates")
    base = _tensors(rng, statistics=1.0) | {
        "attention.mask": Tensor("F32", (2, 2), bytes(4) + _MINUS_INFINITY + bytes(8))
    }
    updates = [(_tensors(rng, statistics=1e12), num_examples) for num_examples in NUM_EXAMPLES]
    mean = reference.round_model(list(base.items()), updates, DEFAULT_WEIGHT_LIMIT)
    model = folder / "model.safetensors"
    model.write_bytes(safetensors(base))
    return TenUpdates(
        model,
        tuple(write_update(folder, f"client-{i}", t, num_examples=n) for i, (t, n) in enumerate(updates)),
        hashlib.sha256(mean).hexdigest(),
    )


def make_ten_large_updates(folder: Path, size: int) -> TenUpdates:
    """Write a model and updates of one tensor with so many bytes, each full of one number."""
    values = range(10)
    total = sum(value * num_examples for value, num_examples in zip(values, NUM_EXAMPLES, strict=True))
    model = folder / "model.safetensors"
    model.write_bytes(safetensors(_full_of(0, size)))
    return TenUpdates(
        model,
        tuple(
            write_update(folder, f"client-{value}", _full_of(value, size), num_examples=num_examples)
            for value, num_examples in zip(values, NUM_EXAMPLES, strict=True)
        ),
        hashlib.sha256(safetensors(_full_of(total / sum(NUM_EXAMPLES), size))).hexdigest(),
    )


def _full_of(value: float, size: int) -> dict[str, Tensor]:
    return {"weight": Tensor("F32", (2, size // 8), struct.pack("<f", value) * (size // 4))}


def _tensors(rng: random.Random, *, statistics: float) -> dict[str, Tensor]:
    def floats(dtype: str, *shape: int, scale: float = 1.0) -> Tensor:
        return tensor(dtype, shape, (scale * rng.uniform(-1, 1) for _ in range(math.prod(shape))))

    return {
        "conv.weight": floats("F32", 4, 3, 3, 3),
        "conv.bias": floats("F32", 4),
        "norm.running_mean": floats("F32", 4, scale=statistics),
        "norm.running_var": floats("F64", 4, scale=statistics),
        "norm.num_batches_tracked": tensor("I64", (), [rng.randrange(10_000)]),
        "attention.mask": floats("F32", 2, 2),
        "dense.double": floats("F64", 3, 5),
        "dense.half": floats("F16", 3, 5),
        "dense.bfloat": floats("BF16", 3, 5),
        "dense.empty": Tensor("F32", (0, 5), b""),
        "temperature": floats("F32"),
        "histogram": tensor("U8", (7,), [rng.randrange(256) for _ in range(7)]),
        "enabled": tensor("BOOL", (5,), [rng.randrange(2) for _ in range(5)]),
    }


def tensor(dtype: str, shape: tuple[int, ...], values: Iterable[float]) -> Tensor:
    """Return a tensor of numbers, each rounded to its dtype."""
    exact = (Fraction(value) for value in values)
    if dtype in reference.FLOAT_FORMATS:
        exact = (reference.nearest(value, dtype) for value in exact)
    return Tensor(dtype, shape, b"".join(reference.encode(value, dtype) for value in exact))


def safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return tensors as a file's bytes."""
    header = encode_header((TensorSpec(name, t.dtype, t.shape) for name, t in tensors.items()), metadata or {})
    return header + b"".join(t.data for t in tensors.values())


def write_update(folder: Path, client_id: str, tensors: Mapping[str, Tensor], *, num_examples: int) -> Update:
    """Write a client's update."""
    metrics = json.dumps({"loss": 1 / num_examples})
    body = safetensors(tensors, {"num_examples": str(num_examples), "metrics": metrics})
    path = folder / f"{client_id}-{hashlib.sha256(body).hexdigest()[:8]}.safetensors"
    path.write_bytes(body)
    return Update(client_id, num_examples, path, hashlib.sha256(body).hexdigest())


def send(url: str, update: Update, round_number: int, guard: Guard | None = None) -> UpdateReceipt:
    """Send an update as a client does, again and again until it is answered.

    Parameters
    ----------
    url : str
    update : Update
    round_number : int
    guard : Guard, optional
        Has the client show who it is.

    Raises
    ------
    Problem
        The answer is a refusal.
    """
    saved = SavedUpdate(round_number, _NO_BASE, update.sha256, update.num_examples, {})
    with Upstream(url) if guard is None else guard.upstream(url, "client", update.client_id) as upstream:
        rng = random.Random(update.sha256)
        return Transport(upstream, update.client_id, rng=rng, retry_budget=PATIENCE).upload(saved, update.path)


def send_at_once(
    deliveries: Sequence[tuple[str, Update]], round_number: int, guard: Guard | None = None
) -> list[UpdateReceipt | Problem]:
    """Send updates to addresses, all at the same time, and return the answers in their order; see `send`."""

    def answer(delivery: tuple[str, Update]) -> UpdateReceipt | Problem:
        url, update = delivery
        try:
            return send(url, update, round_number, guard)
        except Problem as problem:
            return problem

    with ThreadPoolExecutor(len(deliveries)) as senders:
        return list(senders.map(answer, deliveries))
