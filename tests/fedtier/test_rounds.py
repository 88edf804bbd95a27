"""Documents come back as they were sent, the same bytes for the same content; malformed ones are refused."""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from typing import Any

import pytest

from fedtier.documents import Document
from fedtier.problems import BadRequest, DuplicateContributors
from fedtier.rounds import (
    Contributor,
    Counted,
    Head,
    InitialManifest,
    ModelDigest,
    PartialHeader,
    PartialReceipt,
    RoundPlan,
    RoundStatus,
    UpdateReceipt,
    parse_manifest,
)
from tests.fedtier.round_documents import NOON, PLAN, SHA, contributor, manifest, refusal

DOCUMENTS: list[Document] = [
    RoundPlan(**PLAN),
    RoundPlan(**{**PLAN, "deadline": NOON, "cohort": ("client-1", "client-2"), "final_round": None}),
    RoundStatus(**PLAN, state="collecting", counted=3, poll_after=0.2),
    contributor(),
    Counted(client_id="a", sha256=SHA),
    PartialHeader(attempt=12, total_weight=1200, contributors=(contributor("a"), contributor("b"))),
    UpdateReceipt(round=7, attempt=12, client_id="client-3", sha256=SHA),
    PartialReceipt(round=7, attempt=12, batch_id="b", counted=10),
    Head(round=7, manifest_sha256=SHA, attempt=12),
    InitialManifest(model=ModelDigest(sha256=SHA, bytes=5)),
    manifest(),
]


# Round trips


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: type(document).__name__)
def test_a_document_comes_back_as_it_was_sent(document: Document) -> None:
    again = type(document).from_json(document.to_json())
    assert again == document
    assert again.to_json() == document.to_json()


def test_the_round_s_document_is_the_protocol_s() -> None:
    sent = json.loads(RoundStatus(**PLAN, state="collecting", counted=3, poll_after=0.2).to_json())
    assert sent == {
        "round": 7,
        "attempt": 12,
        "state": "collecting",
        "base": {"round": 6, "sha256": SHA, "bytes": 1_724_992, "url": "/v1/rounds/6/model"},
        "schema": [
            {"name": "conv1.weight", "dtype": "F32", "shape": [20, 1, 5, 5], "kind": "float", "exponent": 26},
            {"name": "conv1.bias", "dtype": "F32", "shape": [20], "kind": "wide", "exponent": 149},
            {"name": "steps", "dtype": "I64", "shape": [], "kind": "integer", "exponent": 0},
            {"name": "mask", "dtype": "F32", "shape": [2, 2], "kind": "kept", "exponent": 0},
        ],
        "weight_limit": 268_435_456,
        "max_examples": 3_627_506,
        "threshold": 10,
        "min_clients": 1,
        "deadline": None,
        "cohort": None,
        "counted": 3,
        "final_round": 20,
        "poll_after": 0.2,
        "client": {
            "epochs": 1,
            "batch_size": 32,
            "lr": 0.05,
            "optimizer": "sgd",
            "momentum": 0.5,
            "weight_decay": 0.0,
            "prox_mu": 0.0,
        },
    }


def test_a_status_tells_the_plan_and_a_plan_its_sums() -> None:
    plan = RoundStatus(**PLAN, state="paused", counted=3, poll_after=0.2).plan
    assert type(plan) is RoundPlan
    assert plan == RoundPlan(**PLAN)
    assert plan.sums.weight_limit == 268_435_456
    assert [tensor.name for tensor in plan.sums.summed] == ["conv1.weight", "conv1.bias", "steps"]
    assert plan.sums is plan.sums  # made once: callers ask for it tensor by tensor


def test_the_newer_of_two_rounds_has_the_greater_pair() -> None:
    pairs = [RoundPlan(**{**PLAN, "round": r, "attempt": a}).pair for r, a in [(7, 1), (7, 2), (8, 1)]]
    assert pairs == sorted(pairs)


@pytest.mark.parametrize(("final", "finished"), [(None, False), (7, False), (8, False), (6, True), (0, True)])
def test_a_round_past_the_last_is_finished(final: int | None, finished: bool) -> None:
    assert RoundPlan(**{**PLAN, "final_round": final}).finished is finished


def test_a_cohort_selects_its_clients() -> None:
    assert RoundPlan(**PLAN).selects("anyone")
    plan = RoundPlan(**{**PLAN, "cohort": ("client-1",)})
    assert plan.selects("client-1")
    assert not plan.selects("client-10")


# The same bytes


def test_documents_are_these_bytes() -> None:
    assert Head(round=7, manifest_sha256=SHA, attempt=12).to_json() == (
        f'{{"round":7,"manifest_sha256":"{SHA}","attempt":12}}'.encode()
    )
    assert InitialManifest(model=ModelDigest(sha256=SHA, bytes=5)).to_json() == (
        f'{{"round":0,"attempt":0,"base":null,"model":{{"sha256":"{SHA}","bytes":5}},'
        '"total_examples":0,"contributors":[],"previous":null}'.encode()
    )


def test_metrics_are_written_in_one_order() -> None:
    made = [
        Contributor(client_id="a", num_examples=1, sha256=SHA, metrics=metrics)
        for metrics in ({"loss": 1.0, "accuracy": 0.5}, {"accuracy": 0.5, "loss": 1.0})
    ]
    assert made[0].to_json() == made[1].to_json()
    assert b'{"accuracy":0.5,"loss":1.0}' in made[0].to_json()


def test_one_moment_is_written_in_one_way() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert manifest(opened_at=elsewhere).to_json() == manifest(opened_at=NOON).to_json()
    assert b'"opened_at":"2026-03-01T12:30:15.250000Z"' in manifest().to_json()


# Manifests


def test_manifests_are_told_apart_by_their_round() -> None:
    initial = InitialManifest(model=ModelDigest(sha256=SHA, bytes=5))
    assert parse_manifest(initial.to_json()) == initial
    assert parse_manifest(manifest().to_json()) == manifest()


def test_a_manifest_of_a_later_version_is_read() -> None:
    sent = json.loads(manifest().to_json())
    assert parse_manifest(json.dumps({**sent, "server_optimizer": "adam"}).encode()) == manifest()


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"round": 0}', manifest().to_json()[:-1]],
    ids=["nothing", "list", "null", "object", "not utf-8", "deep", "round 0 without model", "truncated"],
)
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(BadRequest, match="not a manifest: "):
        parse_manifest(data)


# Refusals


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": "-a"}, "client_id"),
        ({"client_id": "a\n"}, "client_id"),
        ({"client_id": "a" * 129}, "client_id"),
        ({"client_id": "é"}, "client_id"),
        ({"num_examples": 0}, "num_examples"),
        ({"num_examples": -1}, "num_examples"),
        ({"num_examples": 1.0}, "num_examples"),
        ({"num_examples": "1"}, "num_examples"),
        ({"num_examples": True}, "num_examples"),
        ({"num_examples": 1 << 63}, "num_examples"),
        ({"num_examples": 10**4200}, "num_examples"),
        ({"sha256": SHA.upper()}, "sha256"),
        ({"sha256": SHA + "0"}, "sha256"),
        ({"sha256": SHA + "\n"}, "sha256"),
        ({"metrics": {"loss": "0"}}, "metrics.loss"),
        ({"metrics": {"loss": None}}, "metrics.loss"),
        ({"metrics": []}, "metrics"),
        ({"weight": 1}, "weight"),
    ],
)
def test_a_contributor_is_refused_by_its_first_bad_member(change: dict[str, Any], named: str) -> None:
    good = json.loads(contributor().to_json())
    Contributor.from_json(json.dumps(good))
    assert refusal(Contributor, json.dumps({**good, **change})).startswith(f"not a Contributor document: {named}: ")


@pytest.mark.parametrize(
    "change",
    [
        *({"round": 0}, {"attempt": 0}, {"weight_limit": 0}, {"weight_limit": (1 << 53) + 1}, {"threshold": 0}),
        *({"deadline": "2026-01-01T00:00:00"}, {"deadline": "9999-12-31T23:59:59-23:59"}, {"cohort": ["-a"]}),
        {"schema": [{"name": "a", "dtype": "F32", "shape": [1], "kind": "sparse", "exponent": 0}]},
        *({"client": {"lr": 0}}, {"client": {"optimizer": "sgdm"}}, {"client": {"prox_mu": -1}}),
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    good = json.loads(RoundPlan(**PLAN).to_json())
    assert f"not a RoundPlan document: {next(iter(change))}" in refusal(RoundPlan, json.dumps({**good, **change}))


# Partials


def test_a_consistent_partial_is_accepted() -> None:
    PartialHeader(
        attempt=1, total_weight=1201, contributors=(contributor("a"), contributor("b", 601))
    ).require_consistent()


def test_a_client_listed_twice_is_named() -> None:
    header = PartialHeader(
        attempt=1, total_weight=1800, contributors=(contributor("a"), contributor("b"), contributor("a"))
    )
    with pytest.raises(DuplicateContributors, match="lists client 'a' twice") as refused:
        header.require_consistent()
    assert refused.value.members == {"client_id": "a"}


def test_a_weight_that_does_not_add_up_is_refused() -> None:
    with pytest.raises(BadRequest, match="total_weight is 601, but its contributors have 600"):
        PartialHeader(attempt=1, total_weight=601, contributors=(contributor(),)).require_consistent()


def test_the_largest_weights_that_parse_can_be_added_and_named() -> None:
    most = (1 << 63) - 1
    header = PartialHeader(attempt=1, total_weight=most, contributors=(contributor("a", most), contributor("b", most)))
    with pytest.raises(BadRequest, match=str(2 * most)):
        header.require_consistent()


def test_a_partial_of_nobody_is_refused() -> None:
    assert "contributors" in refusal(PartialHeader, '{"attempt": 1, "total_weight": 1, "contributors": []}')
