"""What becomes of an update, line by line of the protocol."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from tests.answers import problem
from tests.builders import safetensors, trained, update_bytes
from tests.master_aggregator.answers import GOOD, content_digest
from tests.masters import Master


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
