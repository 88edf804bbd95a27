"""The OpenAPI document is valid, lies in docs/, and says what the pydantic models, the problems and the routes say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from flask import Flask
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from fedtier.fields import CLIENT_ID
from fedtier.problems import NAMES, PROBLEMS, Problem
from fedtier.serving.openapi import openapi_document, openapi_json
from fedtier.serving.operations import OPERATOR, SHARED, Operation
from fedtier.serving.schemas import DOCUMENTS, REFERENCE
from fedtier.tokens import TokenVerifier, generate_keys
from scripts.write_openapi import DOCUMENT, openapi_yaml
from tests.masters import Master, store_of
from tests.s3_servers import S3Server
from tests.workers import Worker

ALL = (*SHARED, *OPERATOR)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document(ALL)


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref":
                yield item
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


@pytest.mark.parametrize("operations", [SHARED, ALL], ids=["worker", "master"])
def test_the_document_is_openapi_3_1(operations: tuple[Operation, ...]) -> None:
    document = json.loads(openapi_json(operations))
    OPENAPI_31_VALIDATOR.validate(document)
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    for reference in set(references(document)):
        found = document
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]


def test_the_document_in_docs_is_the_one_that_is_served(document: dict[str, Any]) -> None:
    told = "docs/openapi.yaml is not the document that is served; run: python -m scripts.write_openapi"
    assert DOCUMENT.read_text() == openapi_yaml(), told
    assert yaml.safe_load(DOCUMENT.read_text()) == document, told


def test_documents_are_described_by_their_models(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for model in DOCUMENTS:
        described = model.model_json_schema(mode="serialization", ref_template=REFERENCE)
        for name, schema in described.pop("$defs", {}).items():
            assert schemas[name] == schema
        assert schemas[model.__name__] == described


def test_every_problem_is_in_the_enumeration_and_in_some_answer(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Problem"]["properties"]["type"]["enum"] == [problem.uri() for problem in PROBLEMS]
    assert set(PROBLEMS) == {kind for kind in Problem.__subclasses__() if kind.__module__ == Problem.__module__}
    assert {problem.name for problem in PROBLEMS} == NAMES
    answered = {
        found.rpartition("/")[2] for found in references([document["paths"], document["components"]["responses"]])
    }
    for problem in PROBLEMS:
        assert schemas[problem.__name__]["allOf"][1]["properties"]["status"] == {"const": problem.status}
        assert problem.__name__ in answered


def test_paths_are_described_by_the_patterns_that_are_checked(document: dict[str, Any]) -> None:
    parameters = document["components"]["parameters"]
    for name in ("ClientId", "BatchId"):
        assert re.fullmatch(parameters[name]["schema"]["pattern"], "client-3._")
        assert parameters[name]["schema"]["pattern"] == f"^{CLIENT_ID.pattern}$"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            chosen = [parameters[p["$ref"].rpartition("/")[2]] for p in operation.get("parameters", [])]
            assert {p["name"] for p in chosen if p["in"] == "path"} == set(re.findall(r"\{(\w+)\}", path))


def routes(app: Flask) -> set[tuple[str, str]]:
    """Return the methods and paths of an app; the names of what stands in a path are the document's."""
    return {
        (method.lower(), re.sub(r"<number>", "{round}", rule.rule).replace("<", "{").replace(">", "}"))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def described(operations: tuple[Operation, ...]) -> set[tuple[str, str]]:
    return {(operation.method, operation.path) for operation in operations}


def test_a_worker_serves_what_its_document_describes(tmp_path: Path) -> None:
    worker = Worker("http://127.0.0.1:9", tmp_path)
    assert routes(worker.app) == described(SHARED)
    answer = worker.http.get("/v1/openapi.json")
    assert answer.json == openapi_document(SHARED)
    assert not any(path.startswith("/v1/pause") for path in answer.json["paths"])


def test_a_master_serves_what_its_document_describes(tmp_path: Path, s3_server: S3Server) -> None:
    master = Master(store_of(s3_server), tmp_path)
    try:
        assert routes(master.app) == described(ALL)
        assert master.http.get("/v1/openapi.json").json == openapi_document(ALL)
    finally:
        master.stop()


def test_the_document_needs_a_token_where_the_server_asks_for_one(tmp_path: Path) -> None:
    worker = Worker("http://127.0.0.1:9", tmp_path, verifier=TokenVerifier([generate_keys()[1]]))
    assert worker.http.get("/v1/openapi.json").status_code == 401


def test_a_path_has_one_spelling(tmp_path: Path) -> None:
    http = Worker("http://127.0.0.1:9", tmp_path).http
    for path in ("/v1//round", "/v1/rounds//1/model", "/v1/round/"):
        answer = http.get(path, headers={"Host": "elsewhere"})
        assert answer.status_code == 404
        assert "Location" not in answer.headers


def test_a_health_path_is_open_for_every_method(tmp_path: Path) -> None:
    worker = Worker("http://127.0.0.1:9", tmp_path, verifier=TokenVerifier([generate_keys()[1]]))
    for path in ("/healthz", "/readyz"):
        assert worker.http.trace(path).status_code == 405
        assert worker.http.get(f"/{path}").status_code == 401


def test_a_refused_method_says_which_there_are(tmp_path: Path) -> None:
    answer = Worker("http://127.0.0.1:9", tmp_path).http.post("/v1/round")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
