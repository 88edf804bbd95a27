"""Models, manifests and rounds as a master would publish them, small."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from fedtier.fields import sha256_hex
from fedtier.rounds import (
    BaseRound,
    ClientSettings,
    Contributor,
    Head,
    InitialManifest,
    ModelDigest,
    Predecessor,
    RoundManifest,
)
from fedtier.store import RoundStore, StoredHead
from fedtier.tensors import write_arrays

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def write_model(path: Path, *, seed: int = 0, elements: int = 100) -> str:
    """Write a model of float32 noise and return its SHA-256."""
    noise = np.random.default_rng(seed).standard_normal(elements, np.float32)
    with path.open("wb") as file:
        write_arrays(file, {"weight": noise.reshape(1, -1)})
    return sha256_hex(path.read_bytes())


def manifest_of(round_number: int, model_sha256: str, previous: str) -> bytes:
    """Return a manifest of a round, given the digest of the manifest before it."""
    contributor = Contributor(client_id="client-0", num_examples=600, sha256="c" * 64, metrics={})
    return RoundManifest(
        round=round_number,
        attempt=round_number,
        base=BaseRound(round=round_number - 1, sha256="b" * 64, bytes=8, url="/v1"),
        tensors=(),
        weight_limit=1 << 28,
        max_examples=1000,
        threshold=1,
        min_clients=1,
        deadline=None,
        cohort=None,
        final_round=None,
        client=ClientSettings(),
        model=ModelDigest(sha256=model_sha256, bytes=8),
        total_examples=600,
        contributors=(contributor,),
        previous=Predecessor(round=round_number - 1, manifest_sha256=previous),
        opened_at=MOMENT,
        closed_at=MOMENT,
        published_at=MOMENT,
    ).to_json()


def initial_manifest(model_sha256: str) -> bytes:
    """Return the manifest of round 0."""
    return InitialManifest(model=ModelDigest(sha256=model_sha256, bytes=8)).to_json()


def publish_rounds(store: RoundStore, last: int, *, initial_sha256: str = "a" * 64) -> StoredHead:
    """Publish the manifests of rounds 0 to `last`, one head after another, without their models."""
    digest = store.put_manifest(0, initial_manifest(initial_sha256))
    head = Head(round=0, manifest_sha256=digest, attempt=1)
    etag = store.swap_head(head, None, own_content_is_success=False)
    for number in range(1, last + 1):
        digest = store.put_manifest(number, manifest_of(number, f"{number:064x}", digest))
        head = Head(round=number, manifest_sha256=digest, attempt=number + 1)
        etag = store.swap_head(head, etag, own_content_is_success=False)
    return StoredHead(head, etag)
