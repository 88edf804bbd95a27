"""Histories of federations that never ran: manifests with made-up metrics, as long and wide as a test wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fedtier.evaluations import Evaluation
from fedtier.rounds import Contributor, Head, InitialManifest, ModelDigest, Predecessor, RoundManifest
from fedtier.store import PublishedRound, RoundStore
from fedtier_cli.history import HistoryRound
from tests.builders import make_plan, noon

_PLAN = {name: getattr(plan, name) for plan in [make_plan()] for name in type(plan).model_fields}
DIGEST = "a" * 64


def part(client_id: str, examples: int = 10, **metrics: float) -> Contributor:
    """Return one client's part in a round."""
    return Contributor(client_id=client_id, num_examples=examples, sha256=DIGEST, metrics=metrics)


def history_round(
    number: int, parts: Sequence[Contributor] = (), tested: Mapping[str, float] | None = None
) -> HistoryRound:
    """Return a published round, evaluated where `tested` says how it did; round 0 is the initial model."""
    manifest: InitialManifest | RoundManifest = InitialManifest(model=ModelDigest(sha256=DIGEST, bytes=8))
    if number > 0:
        manifest = RoundManifest(
            **_PLAN | {"round": number},
            model={"sha256": DIGEST, "bytes": 8},
            total_examples=sum(one.num_examples for one in parts),
            contributors=tuple(parts),
            previous={"round": number - 1, "manifest_sha256": DIGEST},
            opened_at=noon(),
            closed_at=noon(0.5),
            published_at=noon(1),
        )
    evaluation = None
    if tested is not None:
        evaluation = Evaluation(round=number, model_sha256=DIGEST, task="made", basis=DIGEST, metrics=dict(tested))
    return HistoryRound(PublishedRound(number, DIGEST, manifest), evaluation)


def training(
    devices: int,
    rounds: int,
    *,
    apart: Sequence[int] = (),
    fraction: float = 1.0,
    test_every: int = 1,
    spread: float = 0.25,
    seed: int = 0,
) -> list[HistoryRound]:
    """Return rounds of a training that goes well, but for the devices that are to lie apart.

    The losses are skewed, as they are in truth: log-normal around a course that falls.
    """
    rng = np.random.default_rng(seed)
    skill = rng.normal(0, spread, devices)
    skill[list(apart)] += 5 * spread + 0.8
    examples = rng.integers(50, 600, devices)
    selected = max(round(fraction * devices), 1)
    found = [history_round(0, tested={"loss": 2.3, "accuracy": 0.1})]
    for number in range(1, rounds + 1):
        course = 0.12 + 2.1 / (1 + 0.25 * number)
        parts = []
        for device in np.sort(rng.choice(devices, selected, replace=False)):
            loss = float(course * np.exp(skill[device] + rng.normal(0, spread / 4)))
            name = f"client-{device}"
            parts.append(part(name, int(examples[device]), loss=loss, accuracy=float(np.exp(-0.6 * loss))))
        tested = {"loss": 1.05 * course, "accuracy": float(np.exp(-0.65 * course))}
        found.append(history_round(number, parts, tested if number % test_every == 0 else None))
    return found


def publish(store: RoundStore, rounds: Sequence[HistoryRound]) -> None:
    """Publish rounds and evaluations as a master and an evaluation would, without models."""
    digest, etag = "", None
    for one in rounds:
        manifest = one.published.manifest
        if isinstance(manifest, RoundManifest):
            previous = Predecessor(round=one.round - 1, manifest_sha256=digest)
            manifest = manifest.model_copy(update={"previous": previous})
        digest = store.put_manifest(one.round, manifest.to_json())
        head = Head(round=one.round, manifest_sha256=digest, attempt=one.round + 1)
        etag = store.swap_head(head, etag, own_content_is_success=False)
        if one.evaluation is not None:
            store.put_evaluation(one.evaluation)
