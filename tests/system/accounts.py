"""What a round has to publish, worked out from the bodies that were sent and the manifest that says which count.

By the definition alone (`tests.reference`), and files are read by the safetensors package: no code of fedtier adds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import safetensors as package

from tests import reference
from tests.reference import Plan, Tensor

_deserialize: Any = package.deserialize  # has no annotations


class Account:
    """Bodies that were sent to one round.

    Parameters
    ----------
    model : bytes
        The file that the round opened with; without metadata.
    weight_limit : int
    """

    def __init__(self, model: bytes, weight_limit: int) -> None:
        read = _tensors_of(model)
        self._base = [(name, read[name]) for name in _header_of(model)]
        self._plans = {name: reference.plan_of(tensor, weight_limit) for name, tensor in self._base}
        self._bodies: dict[str, bytes] = {}

    def sent(self, body: bytes) -> str:
        """Keep a body, and return its digest."""
        digest = hashlib.sha256(body).hexdigest()
        self._bodies[digest] = body
        return digest

    def model_of(self, counted: Mapping[str, str]) -> bytes:
        """Return the file that has to be published.

        Parameters
        ----------
        counted : Mapping of str to str
            Clients and the digests of their updates, as a manifest lists them. Each has to come of an update that was
            sent, or of a partial that lists it and was counted whole.
        """
        sums = {name: [0] * len(reference.numbers(tensor)) for name, tensor in self._base}
        weight = 0
        missing = set(counted.items())
        for client_id, digest in counted.items():
            if digest in self._bodies:
                missing.remove((client_id, digest))
                weight += self._add_update(sums, self._bodies[digest])
        for body in self._bodies.values():
            listed = contributors_of(body)
            if listed and listed.items() <= missing:
                missing -= listed.items()
                weight += self._add_partial(sums, body)
        assert not missing, f"counted, and never sent: {sorted(missing)[:3]}"
        return self._mean(sums, weight)

    def _add_update(self, sums: dict[str, list[int]], body: bytes) -> int:
        num_examples, tensors = int(_metadata_of(body)["num_examples"]), _tensors_of(body)
        for name, plan in self._plans.items():
            if plan.kind != "kept":
                _add(sums[name], reference.terms(plan, tensors[name], num_examples))
        return num_examples

    def _add_partial(self, sums: dict[str, list[int]], body: bytes) -> int:
        tensors = _tensors_of(body)
        for name, plan in self._plans.items():
            if plan.kind != "kept":
                _add(sums[name], _sum_of(name, plan, tensors))
        weight: int = _partial_of(body)["total_weight"]
        return weight

    def _mean(self, sums: Mapping[str, Sequence[int]], weight: int) -> bytes:
        parts = []
        for name, tensor in self._base:
            plan = self._plans[name]
            means = reference.mean_of_sum(plan, tensor.dtype, sums[name], weight)
            parts.append(tensor.data if plan.kind == "kept" else means)
        return reference.model_file(self._base, parts)


def contributors_of(body: bytes) -> dict[str, str]:
    """Return clients and digests that a partial lists; nothing of a body that is none."""
    try:
        return {c["client_id"]: c["sha256"] for c in _partial_of(body)["contributors"]}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _add(sums: list[int], terms: Sequence[int]) -> None:
    sums[:] = [entry + term for entry, term in zip(sums, terms, strict=True)]


def _sum_of(name: str, plan: Plan, tensors: Mapping[str, Tensor]) -> list[int]:
    """Return the whole numbers of a partial's tensor, from either of its forms."""
    if name in tensors:
        limbs = _integers(tensors[name])
    else:
        low, high = _integers(tensors[f"{name}.lo"]), _integers(tensors[f"{name}.hi"])
        limbs = [(upper << 32) + lower for lower, upper in zip(low, high, strict=True)]
    if plan.kind != "wide":
        return limbs
    width = len(limbs) // reference.LIMBS
    rows = [limbs[row * width : (row + 1) * width] for row in range(reference.LIMBS)]
    units = [1 << reference.LIMB_BITS * (reference.LIMBS - 1 - row) for row in range(reference.LIMBS)]
    return [sum(unit * row[at] for unit, row in zip(units, rows, strict=True)) for at in range(width)]


def _integers(tensor: Tensor) -> list[int]:
    return [int(value) for value in reference.numbers(tensor) if value is not None]


def _tensors_of(file: bytes) -> dict[str, Tensor]:
    return {name: Tensor(t["dtype"], tuple(t["shape"]), bytes(t["data"])) for name, t in _deserialize(file)}


def _header_of(file: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
    return found


def _metadata_of(file: bytes) -> dict[str, str]:
    found: dict[str, str] = _header_of(file)["__metadata__"]
    return found


def _partial_of(file: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_metadata_of(file)["partial"])
    return found
