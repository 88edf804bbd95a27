"""Documents come back as they were sent, the same bytes for the same content; malformed ones are refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtier.kinds import TensorPlan
from fedtier.problems import BadRequest, DuplicateContributors, OutOfRange
from fedtier.rounds import (
    BaseRound,
    ClientSettings,
    Contributor,
    Counted,
    Document,
    Head,
    InitialManifest,
    ModelDigest,
    PartialHeader,
    PartialReceipt,
    Predecessor,
    RoundKeys,
    RoundManifest,
    RoundPlan,
    RoundStatus,
    UpdateReceipt,
    json_object,
    parse_manifest,
    parse_metrics,
    parse_num_examples,
    require_id,
    sha256_hex,
)

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


def refusal(model: type[Document], data: bytes | str) -> str:
    with pytest.raises(BadRequest) as refused:
        model.from_json(data)
    assert refused.value.detail.encode()  # goes into a JSON document
    assert "\n" not in refused.value.detail
    return refused.value.detail


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
    "data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"\\ud800":1}', b'{"client_id":"\\ud800"}', "\ud800"]
)
def test_what_is_not_json_is_refused(data: bytes | str) -> None:
    assert "not a Contributor document: " in refusal(Contributor, data)


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


def test_documents_of_a_later_version_are_read_but_received_ones_are_strict() -> None:
    plan = json.loads(RoundPlan(**PLAN).to_json())
    assert RoundPlan.from_json(json.dumps({**plan, "codec": "q8"})) == RoundPlan(**PLAN)
    sent = json.loads(PartialHeader(attempt=1, total_weight=600, contributors=(contributor(),)).to_json())
    PartialHeader.from_json(json.dumps(sent))
    assert "codec" in refusal(PartialHeader, json.dumps({**sent, "codec": "q8"}))


def test_a_document_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        contributor().num_examples = 5  # type: ignore[misc]  # what is tested


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


# Keys


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        ("jobs/mnist.safetensors", "jobs/mnist"),
        ("mnist.safetensors", "mnist"),
        ("a/b.c/d.e.safetensors", "a/b.c/d.e"),
        ("a/.hidden.safetensors", "a/.hidden"),
        ("x.y", "x"),
    ],
)
def test_a_federation_s_keys_lie_below_its_bucket_key(key: str, prefix: str) -> None:
    keys = RoundKeys(key)
    assert (keys.copy, keys.prefix, keys.head) == (key, prefix, f"{prefix}/head.json")
    assert keys.model(7, SHA) == f"{prefix}/rounds/000007/model-{SHA}.safetensors"
    assert keys.manifest(1_234_567, SHA) == f"{prefix}/rounds/1234567/manifest-{SHA}.json"


@pytest.mark.parametrize(
    "key",
    [
        *("", "mnist", ".safetensors", "mnist.", "jobs/.safetensors", "a.b/mnist", "/jobs/mnist.st", "jobs//mnist.st"),
        *("jobs/", "../mnist.st", "jobs/./mnist.st", "jobs/../mnist.st", ".", "..", "...", "jobs/...st"),
    ],
)
def test_a_key_that_gives_no_prefix_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"is not of the form path/name\.safetensors; its path") as refused:
        RoundKeys(key)
    assert repr(key) in str(refused.value)


# An update's metadata


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("600", 600), ("9" * 18, 10**18 - 1)])
def test_num_examples_is_read(text: str, number: int) -> None:
    assert parse_num_examples(text) == number


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "0",
        "-1",
        "+1",
        "01",
        "1.0",
        "1e3",
        " 1",
        "1 ",
        "1\n",
        "1_000",
        "\u0663",
        "\uff11",
        "true",
        "a" * 10_000,
    ],
)
def test_num_examples_is_a_plain_whole_number(text: str | None) -> None:
    with pytest.raises(BadRequest, match=r"num_examples is .* not a whole number from 1") as refused:
        parse_num_examples(text)
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize("digits", [19, 5000])
def test_num_examples_beyond_any_round_is_out_of_range(digits: int) -> None:
    with pytest.raises(OutOfRange, match=f"has {digits} digits"):
        parse_num_examples("1" * digits)


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), st.floats(allow_nan=False, allow_infinity=False))
)
@settings(max_examples=60, deadline=None)
def test_metrics_are_read_in_the_order_of_their_names(metrics: dict[str, float]) -> None:
    text = json.dumps(metrics)
    if len(text) > 4096:
        with pytest.raises(BadRequest, match="more than 4096 bytes"):
            parse_metrics(text)
        return
    parsed = parse_metrics(text)
    assert parsed == metrics
    assert list(parsed) == sorted(metrics)
    made = Contributor(client_id="a", num_examples=1, sha256=SHA, metrics=parsed)
    assert Contributor.from_json(made.to_json()).metrics == metrics


def test_metrics_may_be_absent_empty_or_whole_numbers() -> None:
    assert parse_metrics(None) == {}
    assert parse_metrics("{}") == {}
    assert parse_metrics('{"steps": 12}') == {"steps": 12.0}


@pytest.mark.parametrize(
    "text",
    [
        *("", "nothing", "[]", "1", "null", '"a"', "\ud800", "[" * 4000, '{"a":' * 800),
        *('{"a": "1"}', '{"a": null}', '{"a": true}', '{"a": [1]}', '{"a": {"b": 1}}'),
        *('{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}', '{"a": 1e999}'),
        *('{"a": 1' + "0" * 400 + "}", '{"a": 1' + "0" * 4080 + "}", '{"\\ud800": 1}', '{"\\ud800": "x"}'),
    ],
)
def test_metrics_are_a_flat_object_of_finite_numbers(text: str) -> None:
    with pytest.raises(BadRequest, match="the metadata metrics is n") as refused:
        parse_metrics(text)
    assert len(refused.value.detail.encode()) < 300


def test_metrics_are_limited_in_bytes() -> None:
    parse_metrics('{"' + "a" * 4090 + '":1}')
    for name in ("a" * 4091, "é" * 2046):
        with pytest.raises(BadRequest, match="more than 4096 bytes"):
            parse_metrics('{"' + name + '":1}')


@pytest.mark.parametrize("client_id", ["a", "0", "client-3", "A.b_c-d", "a" * 128])
def test_a_good_client_id_is_returned(client_id: str) -> None:
    assert require_id(client_id, "client") == client_id
    assert contributor(client_id).client_id == client_id


@pytest.mark.parametrize(
    "client_id", ["", ".a", "-a", "_a", "a/b", "a b", "a\n", "\na", "é", "a" * 129, "a" * 10_000, "..", "\0", "\ud800"]
)
def test_a_bad_client_id_is_refused(client_id: str) -> None:
    with pytest.raises(BadRequest, match=r"the client id .* does not match") as refused:
        require_id(client_id, "client")
    assert len(refused.value.detail.encode()) < 300


# Small things


def test_json_that_is_no_object_reads_as_an_empty_one() -> None:
    assert json_object(b'{"a": [1]}') == {"a": [1]}
    for data in (b"", b"[1]", b"null", b"\xff\xfe", b"{", b"[" * 100_000, b"1" * 5000):
        assert json_object(data) == {}


def test_sha256_is_in_hex() -> None:
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
