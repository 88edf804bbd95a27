"""An answer that the OpenAPI document does not describe is found, whatever is wrong with it."""

from __future__ import annotations

import json

import pytest
from jsonschema_rs import ValidationError

from fedtier.problems import NotFound, Problem, RoundOver, Unavailable
from tests.described import MASTER, WORKER

PATH = "/v1/rounds/1/updates/a"
PROBLEM = {"Content-Type": "application/problem+json"}
JSON = {"Content-Type": "application/json"}
OVER = RoundOver("the round is closed", round=2, attempt=3)
RECEIPT = {"round": 1, "attempt": 1, "client_id": "a", "counted": True, "sha256": "0" * 64}


def body(problem: Problem) -> bytes:
    return json.dumps(problem.document()).encode()


def test_answers_as_described_pass() -> None:
    MASTER.check("PUT", PATH, 200, JSON, json.dumps(RECEIPT).encode())
    MASTER.check("PUT", PATH, 409, PROBLEM, body(OVER))
    MASTER.check("GET", "/readyz", 503, {**PROBLEM, "Retry-After": "1"}, body(Unavailable("not yet")))
    MASTER.check("GET", "/nowhere", 404, PROBLEM, body(NotFound("nothing is there")))


@pytest.mark.parametrize(
    ("status", "headers", "sent"),
    [
        pytest.param(500, PROBLEM, body(Problem("the server failed")), id="a status"),
        pytest.param(409, JSON, body(OVER), id="a media type"),
        pytest.param(409, PROBLEM, body(RoundOver("without its members")), id="a problem without its members"),
        pytest.param(409, PROBLEM, body(NotFound("of another status")), id="a problem of another status"),
        pytest.param(503, PROBLEM, body(Unavailable("not now")), id="no Retry-After"),
        pytest.param(503, {**PROBLEM, "Retry-After": "0"}, body(Unavailable("not now")), id="Retry-After 0"),
        pytest.param(200, JSON, json.dumps(RECEIPT | {"sha256": "?"}).encode(), id="a member of another form"),
        pytest.param(200, JSON, json.dumps({"round": 1}).encode(), id="members that are missing"),
    ],
)
def test_answers_that_differ_are_found(status: int, headers: dict[str, str], sent: bytes) -> None:
    with pytest.raises((AssertionError, ValidationError)):
        MASTER.check("PUT", PATH, status, headers, sent)


def test_what_only_the_master_has_is_not_a_workers() -> None:
    with pytest.raises(AssertionError):
        WORKER.check("POST", "/v1/pause", 200, JSON, b"{}")
