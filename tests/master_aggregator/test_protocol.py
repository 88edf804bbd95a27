"""What a master answers, line by line of the protocol."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from werkzeug.test import TestResponse

from fedtier.header import encode_header
from fedtier.rounds import RoundPlan, RoundStatus
from tests.builders import model_arrays, partial_bytes, safetensors, sum_of, trained, update_bytes
from tests.hostile.make import hostile_files
from tests.masters import Master, publish_initial, put, rules, store_of, wait_until
from tests.s3_servers import S3Server

GOOD = update_bytes(trained(1), 10, {"loss": 0.5})


def problem(answer: TestResponse, status: int, name: str) -> dict[str, Any]:
    """Check that an answer is this problem, and return its document."""
    document: dict[str, Any] = json.loads(answer.data)
    assert (answer.status_code, document["type"]) == (status, f"urn:fedtier:problem:{name}"), document["detail"]
    assert answer.content_type == "application/problem+json"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    if status == 409:
        assert {"round", "attempt"} <= document.keys()
    if status in {429, 503}:
        assert int(answer.headers["Retry-After"]) >= 1
    return document


def plan_of(master: Master) -> RoundPlan:
    return RoundStatus.from_json(master.http.get("/v1/round").data).plan


def content_digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


@pytest.fixture
def undisturbed(patient: Master) -> Iterator[Master]:
    """The shared master; whatever it was sent, nothing is left behind and nobody else is counted."""
    yield patient
    assert patient.leftovers == []
    assert patient.get_round()["counted"] == 1
    assert patient.get_round()["state"] == "collecting"


# GET /v1/round


def test_the_round_is_shown_as_the_protocol_says(patient: Master) -> None:
    status = patient.get_round()
    assert list(status) == [
        *("round", "attempt", "base", "schema", "weight_limit", "max_examples", "threshold", "min_clients"),
        *("deadline", "cohort", "final_round", "client", "state", "counted", "poll_after"),
    ]
    assert status["base"].keys() == {"round", "sha256", "bytes", "url"}
    assert status["base"]["url"] == "/v1/rounds/0/model"
    assert status["schema"] == [
        {"name": "conv.weight", "dtype": "F32", "shape": [2, 3], "kind": "float", "exponent": 62 - 20 - 8},
        {"name": "conv.bias", "dtype": "F32", "shape": [2], "kind": "wide", "exponent": 149},
        {"name": "steps", "dtype": "I64", "shape": [], "kind": "integer", "exponent": 0},
        {"name": "mask", "dtype": "F32", "shape": [1, 2], "kind": "kept", "exponent": 0},
    ]
    assert status["max_examples"] == status["weight_limit"] // (50 + 4)
    assert status["client"] == {
        **{"epochs": 1, "batch_size": 32, "lr": 0.05},
        **{"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0, "prox_mu": 0},
    }
    assert 0 < status["poll_after"] < 1


def test_an_unchanged_round_is_304(patient: Master) -> None:
    answer = patient.http.get("/v1/round")
    again = patient.http.get("/v1/round", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert patient.http.get("/v1/round", headers={"If-None-Match": '"other"'}).status_code == 200


def test_counting_changes_the_etag(master: Master) -> None:
    before = master.http.get("/v1/round").headers["ETag"]
    master.send_update("a", GOOD)
    answer = master.http.get("/v1/round", headers={"If-None-Match": before})
    assert (answer.status_code, answer.json["counted"]) == (200, 1)  # type: ignore[index]  # is JSON


# Models and manifests


def test_a_master_that_redirects_names_a_url_of_s3_which_needs_no_credentials(
    s3_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(s3_server)
    content = publish_initial(store, tmp_path)
    redirecting = Master(store, tmp_path / "state", redirect_models=True).start()
    try:
        answer = redirecting.http.get("/v1/rounds/0/model")
        assert answer.status_code == 307
        assert requests.get(answer.headers["Location"], timeout=30).content == content
    finally:
        redirecting.stop()


def test_a_model_comes_whole_with_its_digests(patient: Master) -> None:
    answer = patient.http.get("/v1/rounds/0/model")
    assert answer.status_code == 200
    assert answer.data == safetensors(model_arrays())
    assert answer.headers["Repr-Digest"] == answer.headers["Content-Digest"] == content_digest(answer.data)
    assert "public" not in answer.headers["Cache-Control"]


def test_a_range_of_a_model_comes_as_206(patient: Master) -> None:
    whole = patient.http.get("/v1/rounds/0/model")
    part = patient.http.get("/v1/rounds/0/model", headers={"Range": "bytes=10-"})
    assert (part.status_code, part.data) == (206, whole.data[10:])
    assert part.headers["Content-Range"] == f"bytes 10-{len(whole.data) - 1}/{len(whole.data)}"
    assert part.headers["Repr-Digest"] == whole.headers["Repr-Digest"]
    assert "Content-Digest" not in part.headers


def test_a_range_outside_a_model_is_416(patient: Master) -> None:
    answer = patient.http.get("/v1/rounds/0/model", headers={"Range": "bytes=99999999-"})
    problem(answer, 416, "range-not-satisfiable")


def test_a_model_that_the_asker_has_is_304(patient: Master) -> None:
    etag = patient.http.get("/v1/rounds/0/model").headers["ETag"]
    assert patient.http.get("/v1/rounds/0/model", headers={"If-None-Match": etag}).status_code == 304


@pytest.mark.parametrize("what", ["model", "manifest"])
@pytest.mark.parametrize("number", [1, 2, 999999999])
def test_a_round_that_is_not_published_is_404(patient: Master, what: str, number: int) -> None:
    problem(patient.http.get(f"/v1/rounds/{number}/{what}"), 404, "not-found")


@pytest.mark.parametrize("number", ["-1", "x", "1.0", "+1", "٣", "1234567890"])
def test_a_malformed_round_is_400(undisturbed: Master, number: str) -> None:
    problem(undisturbed.http.get(f"/v1/rounds/{number}/model"), 400, "bad-request")
    problem(undisturbed.http.get(f"/v1/rounds/{number}/manifest"), 400, "bad-request")
    problem(undisturbed.http.post(f"/v1/rounds/{number}/close"), 400, "bad-request")
    problem(undisturbed.send_update("a", GOOD, number), 400, "bad-request")  # type: ignore[arg-type]


def test_the_manifest_of_the_initial_model(patient: Master) -> None:
    answer = patient.http.get("/v1/rounds/0/manifest")
    model = patient.http.get("/v1/rounds/0/model").data
    assert answer.json["model"] == {"sha256": hashlib.sha256(model).hexdigest(), "bytes": len(model)}  # type: ignore[index]
    assert answer.headers["Repr-Digest"] == content_digest(answer.data)


def test_a_published_round_has_its_model_manifest_and_mean(master: Master) -> None:
    plan = plan_of(master)
    assert master.send_update("client-b", update_bytes(trained(2), 30)).status_code == 200
    assert master.send_update("client-a", GOOD).status_code == 200
    master.await_round(2)
    model = master.http.get("/v1/rounds/1/model").data
    manifest = master.http.get("/v1/rounds/1/manifest").json
    assert manifest is not None
    assert manifest["model"] == {"sha256": hashlib.sha256(model).hexdigest(), "bytes": len(model)}
    assert manifest["contributors"] == [
        {
            "client_id": "client-a",
            "num_examples": 10,
            "sha256": hashlib.sha256(GOOD).hexdigest(),
            "metrics": {"loss": 0.5},
        },
        {
            "client_id": "client-b",
            "num_examples": 30,
            "sha256": hashlib.sha256(update_bytes(trained(2), 30)).hexdigest(),
            "metrics": {},
        },
    ]
    assert manifest["total_examples"] == 40
    assert manifest["opened_at"] <= manifest["closed_at"] <= manifest["published_at"]
    assert RoundPlan.model_validate(manifest) == plan
    assert_mean(model, [(trained(1), 10), (trained(2), 30)])
    assert master.get_round()["base"]["sha256"] == manifest["model"]["sha256"]


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


# PUT update


def test_a_counted_update_gets_its_receipt(master: Master) -> None:
    answer = master.send_update("a", GOOD, headers={"Content-Digest": content_digest(GOOD)})
    assert answer.status_code == 200
    assert answer.json == {
        "round": 1,
        "attempt": 2,
        "client_id": "a",
        "counted": True,
        "sha256": hashlib.sha256(GOOD).hexdigest(),
    }


def test_a_second_different_update_is_told_the_firsts_digest(undisturbed: Master) -> None:
    answer = undisturbed.send_update("client-0", update_bytes(trained(5), 99))
    first = hashlib.sha256(update_bytes(trained(0), 10)).hexdigest()
    assert answer.status_code == 200
    assert answer.json["sha256"] == first  # type: ignore[index]  # is JSON


def test_the_order_of_tensors_is_free(master: Master) -> None:
    backwards = dict(reversed(list(trained(1).items())))
    assert master.send_update("a", update_bytes(backwards, 10)).status_code == 200


def test_kept_tensors_may_be_anything(master: Master) -> None:
    arrays = trained(1) | {"mask": np.array([[np.nan, np.inf]], np.float32)}
    assert master.send_update("a", update_bytes(arrays)).status_code == 200


def test_an_unknown_metadata_key_is_no_offence(master: Master) -> None:
    body = safetensors(trained(1), {"num_examples": "1", "framework": "numpy"})
    assert master.send_update("a", body).status_code == 200


@pytest.mark.parametrize("client_id", ["-a", ".a", "a b", "a%20b", "ä", "a" * 129, "a:b", "a%0A"])
def test_a_malformed_client_id_is_400(undisturbed: Master, client_id: str) -> None:
    problem(undisturbed.send_update(client_id, GOOD), 400, "bad-request")


def test_an_update_of_another_round_is_refused_with_the_round_of_now(undisturbed: Master) -> None:
    over = problem(undisturbed.send_update("a", GOOD, 0), 409, "round-over")
    early = problem(undisturbed.send_update("a", GOOD, 2), 409, "round-not-open")
    assert (over["round"], over["attempt"]) == (early["round"], early["attempt"]) == (1, 2)


def test_a_body_without_length_is_411(undisturbed: Master) -> None:
    answer = undisturbed.http.put("/v1/rounds/1/updates/a", headers={"Content-Type": "application/octet-stream"})
    problem(answer, 411, "length-required")


def test_a_chunked_body_is_411(undisturbed: Master) -> None:
    answer = undisturbed.send_update("a", GOOD, headers={"Transfer-Encoding": "chunked"})
    problem(answer, 411, "length-required")


@pytest.mark.parametrize("length", ["-1", "1x", "0x10", "٣", "1e3", "9" * 30, "+5"])
def test_a_malformed_length_is_400(undisturbed: Master, length: str) -> None:
    answer = undisturbed.http.open("/v1/rounds/1/updates/a", method="PUT", environ_overrides={"CONTENT_LENGTH": length})
    problem(answer, 400, "bad-request")


def test_a_body_larger_than_the_model_is_413(undisturbed: Master) -> None:
    body = update_bytes(trained(1) | {"more": np.zeros(200_000, np.float32)})
    assert problem(undisturbed.send_update("a", body), 413, "too-large")["limit"] < len(body)


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", ""])
def test_another_media_type_is_415(undisturbed: Master, media_type: str) -> None:
    answer = undisturbed.send_update("a", GOOD, headers={"Content-Type": media_type})
    problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize("field", ["md5", "sha-256=abc", "sha-256=:AAAA:", "sha-256=:!:", "sha-256=:" + "A" * 43])
def test_a_malformed_digest_is_400(undisturbed: Master, field: str) -> None:
    problem(undisturbed.send_update("a", GOOD, headers={"Content-Digest": field}), 400, "bad-request")


def test_a_wrong_digest_is_422(undisturbed: Master) -> None:
    answer = undisturbed.send_update("a", GOOD, headers={"Content-Digest": content_digest(b"else")})
    assert hashlib.sha256(GOOD).hexdigest() in problem(answer, 422, "digest-mismatch")["detail"]


def test_a_body_that_ends_early_is_400(undisturbed: Master) -> None:
    answer = undisturbed.http.put(
        "/v1/rounds/1/updates/a",
        data=GOOD[:-1],
        content_type="application/octet-stream",
        environ_overrides={"CONTENT_LENGTH": str(len(GOOD))},
    )
    problem(answer, 400, "bad-request")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", " 1", "1 ", "1e3", "٣", "+1", "01", "ten", "NaN"])
def test_a_malformed_number_of_examples_is_400(undisturbed: Master, text: str) -> None:
    problem(undisturbed.send_update("a", update_bytes(trained(1), text)), 400, "bad-request")


def test_a_missing_number_of_examples_is_400(undisturbed: Master) -> None:
    problem(undisturbed.send_update("a", safetensors(trained(1))), 400, "bad-request")


@pytest.mark.parametrize("excess", [1, 1 << 30, 10**30])
def test_more_examples_than_one_client_may_count_is_422(undisturbed: Master, excess: int) -> None:
    most = undisturbed.get_round()["max_examples"]
    problem(undisturbed.send_update("a", update_bytes(trained(1), most + excess)), 422, "out-of-range")


@pytest.mark.parametrize(
    "metrics",
    [
        "not json",
        "[]",
        "1",
        '{"loss": NaN}',
        '{"loss": Infinity}',
        '{"loss": 1e999}',
        '{"loss": "0.5"}',
        '{"loss": null}',
        '{"loss": true}',
        '{"a": {"b": 1}}',
        '{"a": [1]}',
        json.dumps({"x" * 4100: 1}),
        "[" * 4000,
    ],
)
def test_metrics_that_are_no_small_flat_object_of_numbers_are_400(undisturbed: Master, metrics: str) -> None:
    problem(undisturbed.send_update("a", update_bytes(trained(1), 10, metrics)), 400, "bad-request")


def test_metrics_of_exactly_4_kb_are_taken(master: Master) -> None:
    metrics = '{"x": 1' + " " * (4096 - 8) + "}"
    assert len(metrics) == 4096
    assert master.send_update("a", update_bytes(trained(1), 10, metrics)).status_code == 200


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "index"), [("conv.weight", (1, 2)), ("conv.bias", (1,))])
def test_a_value_that_is_not_finite_is_named(
    undisturbed: Master, name: str, index: tuple[int, ...], value: float
) -> None:
    arrays = trained(1)
    arrays[name][index] = value
    document = problem(undisturbed.send_update("a", update_bytes(arrays)), 422, "not-finite")
    assert (document["tensor"], document["index"], document["value"]) == (name, list(index), str(np.float32(value)))


def test_a_value_out_of_range_is_named(undisturbed: Master) -> None:
    arrays = trained(1)
    arrays["conv.weight"][0, 1] = 256.0
    document = problem(undisturbed.send_update("a", update_bytes(arrays)), 422, "out-of-range")
    assert (document["tensor"], document["index"], document["value"]) == ("conv.weight", [0, 1], "256.0")


def test_an_integer_out_of_range_is_named(undisturbed: Master) -> None:
    arrays = trained(1) | {"steps": np.array((1 << 42) + 1, np.int64)}
    document = problem(undisturbed.send_update("a", update_bytes(arrays)), 422, "out-of-range")
    assert document["tensor"] == "steps"


def without(name: str) -> dict[str, Any]:
    return {key: array for key, array in trained(1).items() if key != name}


@pytest.mark.parametrize(
    ("arrays", "tensor"),
    [
        (without("conv.bias"), "conv.bias"),
        (trained(1) | {"extra": np.zeros(1, np.float32)}, "extra"),
        (trained(1) | {"conv.bias": np.zeros(2, np.float64)}, "conv.bias"),
        (trained(1) | {"conv.bias": np.zeros((2, 1), np.float32)}, "conv.bias"),
        (trained(1) | {"steps": np.zeros(1, np.int64)}, "steps"),
        (without("mask"), "mask"),
        ({}, "conv.weight"),
    ],
)
def test_a_tensor_that_differs_from_the_schema_is_named(
    undisturbed: Master, arrays: dict[str, Any], tensor: str
) -> None:
    document = problem(undisturbed.send_update("a", update_bytes(arrays)), 422, "schema-mismatch")
    assert document["tensor"] == tensor
    assert {"expected", "got"} <= document.keys()


# PUT partial


def partial_of(master: Master, *seeds: int, **options: Any) -> bytes:
    members = {f"client-{seed}": (trained(seed), seed + 10) for seed in seeds}
    return partial_bytes(plan_of(master), members, **options)


def test_a_partial_is_counted_whole_and_gets_its_receipt(master: Master) -> None:
    answer = master.send_partial(partial_of(master, 1, 2, 3), batch_id="batch-7")
    assert answer.status_code == 200
    assert answer.json == {"round": 1, "attempt": 2, "batch_id": "batch-7", "counted": 3}
    master.await_round(2)
    assert_mean(master.http.get("/v1/rounds/1/model").data, [(trained(seed), seed + 10) for seed in (1, 2, 3)])


def test_a_sum_does_not_depend_on_its_way(master: Master, s3_server: S3Server, tmp_path: Path) -> None:
    master.send_partial(partial_of(master, 1, 2, 3))
    master.await_round(2)
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=3)) as other:
        for seed in (3, 1, 2):
            other.send_update(f"client-{seed}", update_bytes(trained(seed), seed + 10))
        other.await_round(2)
        assert other.http.get("/v1/rounds/1/model").data == master.http.get("/v1/rounds/1/model").data


def test_a_replayed_batch_gets_already_counted_with_the_list(undisturbed: Master) -> None:
    document = problem(undisturbed.send_partial(partial_of(undisturbed, 0, 1)), 409, "already-counted")
    first = hashlib.sha256(update_bytes(trained(0), 10)).hexdigest()
    assert document["counted"] == [{"client_id": "client-0", "sha256": first}]


@pytest.mark.parametrize("batch_id", ["-a", "a b", "a" * 129])
def test_a_malformed_batch_id_is_400(undisturbed: Master, batch_id: str) -> None:
    problem(undisturbed.send_partial(partial_of(undisturbed, 1), batch_id=batch_id), 400, "bad-request")


def test_a_partial_of_an_older_attempt_is_attempt_over(undisturbed: Master) -> None:
    body = partial_of(undisturbed, 1, header={"attempt": 1})
    document = problem(undisturbed.send_partial(body), 409, "attempt-over")
    assert (document["round"], document["attempt"]) == (1, 2)


def test_a_partial_of_a_future_attempt_is_503(undisturbed: Master) -> None:
    problem(undisturbed.send_partial(partial_of(undisturbed, 1, header={"attempt": 3})), 503, "unavailable")


def test_a_partial_of_another_round_is_refused(undisturbed: Master) -> None:
    problem(undisturbed.send_partial(partial_of(undisturbed, 1), 0), 409, "round-over")
    problem(undisturbed.send_partial(partial_of(undisturbed, 1), 2), 409, "round-not-open")


def test_a_partial_that_lists_a_client_twice_is_422(undisturbed: Master) -> None:
    who = {"client_id": "b", "num_examples": 5, "sha256": "a" * 64, "metrics": {}}
    body = partial_of(undisturbed, 1, header={"contributors": [who, who], "total_weight": 10})
    assert problem(undisturbed.send_partial(body), 422, "duplicate-contributors")["client_id"] == "b"


def test_a_partial_past_the_weight_limit_closes_the_round(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=9, weight_limit=100)) as master:
        plan = plan_of(master)
        assert master.send_partial(partial_bytes(plan, {"a": (trained(1), 90)})).status_code == 200
        answer = master.send_partial(partial_bytes(plan, {"b": (trained(2), 11)}))
        problem(answer, 409, "weight-limit")
        master.await_round(2)
        assert master.leftovers == []


CONTRIBUTOR = {"client_id": "b", "num_examples": 5, "sha256": "a" * 64, "metrics": {}}


@pytest.mark.parametrize(
    "header",
    [
        {"total_weight": 12},
        {"total_weight": 0},
        {"total_weight": -5},
        {"total_weight": "11"},
        {"total_weight": 1 << 70},
        {"attempt": 0},
        {"attempt": "2"},
        {"attempt": None},
        {"contributors": []},
        {"contributors": {}},
        {"contributors": [CONTRIBUTOR | {"num_examples": 0}], "total_weight": 0},
        {"contributors": [CONTRIBUTOR | {"num_examples": 5.0}], "total_weight": 5},
        {"contributors": [CONTRIBUTOR | {"client_id": "a/b"}], "total_weight": 5},
        {"contributors": [CONTRIBUTOR | {"client_id": "b\n"}], "total_weight": 5},
        {"contributors": [CONTRIBUTOR | {"sha256": "A" * 64}], "total_weight": 5},
        {"contributors": [CONTRIBUTOR | {"metrics": {"x": "y"}}], "total_weight": 5},
        {"contributors": [CONTRIBUTOR | {"more": 1}], "total_weight": 5},
        {"more": 1},
    ],
)
def test_a_malformed_partial_header_is_400(undisturbed: Master, header: dict[str, Any]) -> None:
    problem(undisturbed.send_partial(partial_of(undisturbed, 1, header=header)), 400, "bad-request")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a":' * 5000, '{"attempt": NaN}'])
def test_a_partial_header_that_is_no_document_is_400(undisturbed: Master, text: str) -> None:
    body = encode_header([], {"partial": text})
    problem(undisturbed.send_partial(body), 400, "bad-request")


@pytest.mark.parametrize("metadata", [{}, {"num_examples": "1"}, {"partial": "{}", "more": "1"}])
def test_a_partial_has_one_metadata_key(undisturbed: Master, metadata: dict[str, str]) -> None:
    problem(undisturbed.send_partial(encode_header([], metadata)), 400, "bad-request")


def test_an_update_is_no_partial_and_a_partial_no_update(undisturbed: Master) -> None:
    problem(undisturbed.send_partial(GOOD), 400, "bad-request")
    problem(undisturbed.send_update("a", partial_of(undisturbed, 1)), 422, "schema-mismatch")


Sums = dict[str, np.ndarray[Any, Any]]


def whole_sums(master: Master) -> tuple[Sums, dict[str, Any]]:
    plan = plan_of(master)
    total = sum_of(plan, [(trained(1), 11)])
    sums = {t.name: total.read(t, 0, t.sum_length).reshape(t.sum_shape).copy() for t in plan.sums.summed}
    who = CONTRIBUTOR | {"num_examples": 11}
    return sums, {"attempt": plan.attempt, "total_weight": 11, "contributors": [who]}


def too_large(sums: Sums) -> None:
    sums["conv.weight"][0, 0] = (11 << (62 - 20)) + 1


def lowest(sums: Sums) -> None:
    sums["conv.weight"][1, 1] = -(1 << 63)


def large_top_limb(sums: Sums) -> None:
    sums["conv.bias"][0, 0] = (1 << 61) + 1


def large_lower_limb(sums: Sums) -> None:
    sums["conv.bias"][3, 1] = -(1 << 38) - 1


def large_integer(sums: Sums) -> None:
    sums["steps"][...] = (11 << (62 - 20)) + 1


@pytest.mark.parametrize("change", [too_large, lowest, large_top_limb, large_lower_limb, large_integer])
def test_a_sum_beyond_what_its_weight_allows_is_422(undisturbed: Master, change: Callable[[Sums], None]) -> None:
    sums, header = whole_sums(undisturbed)
    change(sums)
    answer = undisturbed.send_partial(safetensors(sums, {"partial": json.dumps(header)}))
    assert problem(answer, 422, "out-of-range")["tensor"] in sums


def missing_sum(sums: Sums) -> None:
    del sums["steps"]


def kept_sum(sums: Sums) -> None:
    sums["mask"] = np.zeros((1, 2), np.int64)


def float_sum(sums: Sums) -> None:
    sums["conv.weight"] = sums["conv.weight"].astype(np.float64)


def flat_wide(sums: Sums) -> None:
    sums["conv.bias"] = sums["conv.bias"][0].copy()


def low_part_alone(sums: Sums) -> None:
    sums["steps.lo"] = sums.pop("steps").astype(np.uint32)


@pytest.mark.parametrize("change", [missing_sum, kept_sum, float_sum, flat_wide, low_part_alone])
def test_sums_that_differ_from_the_schema_are_422(undisturbed: Master, change: Callable[[Sums], None]) -> None:
    sums, header = whole_sums(undisturbed)
    change(sums)
    answer = undisturbed.send_partial(safetensors(sums, {"partial": json.dumps(header)}))
    problem(answer, 422, "schema-mismatch")


def test_sums_may_be_whole_int64(master: Master) -> None:
    sums, header = whole_sums(master)
    assert master.send_partial(safetensors(sums, {"partial": json.dumps(header)})).status_code == 200


# Hostile files


@pytest.mark.parametrize("what", ["updates", "partials"])
def test_hostile_files_are_refused_and_leave_nothing(undisturbed: Master, what: str) -> None:
    for name, hostile in hostile_files().items():
        answer = put(undisturbed.http, f"/v1/rounds/1/{what}/a", hostile.data)
        assert answer.status_code in {400, 413, 422}, (name, answer.status_code)
        assert answer.content_type == "application/problem+json", name
        assert undisturbed.leftovers == [], name


# Operator and health


def test_the_operator_pauses_and_resumes(master: Master) -> None:
    assert master.http.post("/v1/pause").json["state"] == "paused"  # type: ignore[index]  # is JSON
    problem(master.send_update("a", GOOD), 503, "unavailable")
    assert master.http.post("/v1/resume").json["state"] == "collecting"  # type: ignore[index]  # is JSON
    assert master.send_update("a", GOOD).status_code == 200


def test_the_operator_closes_a_round_below_its_threshold(master: Master) -> None:
    master.send_update("a", GOOD)
    answer = master.http.post("/v1/rounds/1/close")
    assert answer.status_code == 200
    assert RoundStatus.from_json(answer.data).round in {1, 2}
    master.await_round(2)


def test_only_the_open_round_can_be_closed(undisturbed: Master) -> None:
    problem(undisturbed.http.post("/v1/rounds/0/close"), 409, "round-over")
    problem(undisturbed.http.post("/v1/rounds/2/close"), 409, "round-not-open")


def test_a_finished_federation_answers_and_takes_nothing(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=1, final_round=1)) as master:
        master.send_update("a", GOOD)
        master.await_round(2)
        status = master.get_round()
        assert (status["state"], status["round"], status["final_round"]) == ("finished", 2, 1)
        problem(master.send_update("a", GOOD, 2), 409, "round-not-open")
        problem(master.http.post("/v1/rounds/2/close"), 409, "round-not-open")
        assert master.http.get("/v1/rounds/1/model").status_code == 200
        assert master.finished.wait(30)


def test_a_cohort_takes_only_its_clients(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=None, clients=10, fraction=0.3)) as master:
        cohort = master.get_round()["cohort"]
        assert (len(cohort), master.get_round()["threshold"]) == (3, 3)
        other = next(f"client-{k}" for k in range(10) if f"client-{k}" not in cohort)
        problem(master.send_update(other, GOOD), 409, "not-selected")
        assert master.send_update(cohort[0], GOOD).status_code == 200


def test_rounds_that_close_before_their_deadline_leave_no_thread_waiting_for_it(
    s3_server: S3Server, tmp_path: Path
) -> None:
    def waiting() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]

    before = len(waiting())
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=1, deadline=3600.0)) as master:
        for number in (1, 2, 3, 4):
            assert master.send_update("client-a", GOOD, number).status_code == 200
            master.await_round(number + 1)
        wait_until(lambda: len(waiting()) <= before + 1)


def test_the_deadline_closes_a_round(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=9, deadline=0.3)) as master:
        master.send_update("a", GOOD, master.get_round()["round"])
        wait_until(lambda: master.get_round()["round"] >= 2)


def test_health_is_open_to_everyone(patient: Master) -> None:
    assert patient.http.get("/healthz").status_code == 200
    assert patient.http.get("/readyz").status_code == 200


def test_what_is_nowhere_is_404_and_another_method_405(undisturbed: Master) -> None:
    problem(undisturbed.http.get("/v2/round"), 404, "not-found")
    problem(undisturbed.http.put("/v1/rounds/1/updates/a/b", data=b"x"), 404, "not-found")
    problem(undisturbed.http.post("/v1/round"), 405, "method-not-allowed")


def test_many_refusals_leave_the_published_mean_as_it_is(master: Master) -> None:
    master.send_update("a", GOOD)
    for hostile in hostile_files().values():
        master.send_update("b", hostile.data)
    master.send_update("c", update_bytes(trained(2) | {"conv.bias": np.array([np.nan, 0], np.float32)}))
    master.send_partial(partial_of(master, 3, 3 + 1, header={"total_weight": 1}))
    master.send_update("d", update_bytes(trained(2), 30))
    master.await_round(2)
    assert_mean(master.http.get("/v1/rounds/1/model").data, [(trained(1), 10), (trained(2), 30)])
    assert master.leftovers == []


def test_a_full_disk_is_503_with_the_reason_and_counts_nothing(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        refusal = problem(master.send_update("a", GOOD), 503, "unavailable")
    assert refusal["detail"] == "the disk of the state directory is full"
    assert (master.get_round()["counted"], master.leftovers) == (0, [])
    assert master.send_update("a", GOOD).status_code == 200
