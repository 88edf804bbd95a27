"""What a master is sent and what it answers, as the tests of its protocol read it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedtier.rounds import RoundPlan, RoundStatus
from tests.builders import model_arrays, partial_bytes, trained, update_bytes
from tests.masters import Master

GOOD = update_bytes(trained(1), 10, {"loss": 0.5})


def plan_of(master: Master) -> RoundPlan:
    return RoundStatus.from_json(master.http.get("/v1/round").data).plan


def content_digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def assert_mean(model: bytes, updates: list[tuple[Mapping[str, Any], int]]) -> None:
    opening, total = model_arrays(), sum(weight for _, weight in updates)
    for name in ("conv.weight", "conv.bias"):
        mean = sum(arrays[name].astype(np.float64) * weight for arrays, weight in updates) / total
        found = np.frombuffer(tensor_of(model, name), np.float32).reshape(opening[name].shape)
        np.testing.assert_allclose(found, mean, rtol=1e-6)
    assert tensor_of(model, "mask") == opening["mask"].tobytes()


def tensor_of(model: bytes, name: str) -> bytes:
    length = int.from_bytes(model[:8], "little")
    begin, end = json.loads(model[8 : 8 + length])[name]["data_offsets"]
    return model[8 + length + begin : 8 + length + end]


def partial_of(master: Master, *seeds: int, **options: Any) -> bytes:
    members = {f"client-{seed}": (trained(seed), seed + 10) for seed in seeds}
    return partial_bytes(plan_of(master), members, **options)
