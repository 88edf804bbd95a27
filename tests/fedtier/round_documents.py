"""Documents of one round, and the sentence with which other bytes are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fedtier.documents import Document
from fedtier.kinds import TensorPlan
from fedtier.problems import BadRequest
from fedtier.rounds import BaseRound, ClientSettings, Contributor, ModelDigest, Predecessor, RoundManifest

SHA = "0123456789abcdef" * 4
NOON = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)
PLAN: dict[str, Any] = {
    "round": 7,
    "attempt": 12,
    "base": BaseRound(round=6, sha256=SHA, bytes=1_724_992, url="/v1/rounds/6/model"),
    "tensors": (
        TensorPlan("conv1.weight", "F32", (20, 1, 5, 5), "float", 26),
        TensorPlan("conv1.bias", "F32", (20,), "wide", 149),
        TensorPlan("steps", "I64", (), "integer", 0),
        TensorPlan("mask", "F32", (2, 2), "kept", 0),
    ),
    "weight_limit": 268_435_456,
    "max_examples": 3_627_506,
    "threshold": 10,
    "min_clients": 1,
    "deadline": None,
    "cohort": None,
    "final_round": 20,
    "client": ClientSettings(),
}


def contributor(client_id: str = "client-3", num_examples: int = 600) -> Contributor:
    return Contributor(client_id=client_id, num_examples=num_examples, sha256=SHA, metrics={"loss": 0.31})


def manifest(**changes: Any) -> RoundManifest:
    return RoundManifest(
        **{
            **PLAN,
            "model": ModelDigest(sha256=SHA, bytes=5),
            "total_examples": 600,
            "contributors": (contributor(),),
            "previous": Predecessor(round=6, manifest_sha256=SHA),
            "opened_at": NOON,
            "closed_at": NOON + timedelta(seconds=1),
            "published_at": NOON + timedelta(seconds=2),
            **changes,
        }
    )


def refusal(model: type[Document], data: bytes | str) -> str:
    with pytest.raises(BadRequest) as refused:
        model.from_json(data)
    assert refused.value.detail.encode()  # goes into a JSON document
    assert "\n" not in refused.value.detail
    return refused.value.detail
