"""What becomes of a partial, line by line of the protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedtier.header import encode_header
from tests.answers import problem
from tests.builders import partial_bytes, safetensors, sum_of, trained, update_bytes
from tests.master_aggregator.answers import GOOD, assert_mean, partial_of, plan_of
from tests.masters import Master, publish_initial, rules, store_of
from tests.s3_servers import S3Server


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
