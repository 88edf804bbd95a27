"""The open round, and the models and manifests of published ones, are served as the protocol says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import requests

from fedtier.rounds import RoundPlan
from tests.answers import problem
from tests.builders import model_arrays, safetensors, trained, update_bytes
from tests.master_aggregator.answers import GOOD, assert_mean, content_digest, plan_of
from tests.masters import Master, publish_initial, store_of
from tests.s3_servers import S3Server


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
