"""The OpenAPI 3.1 document of an aggregator, made of its operations and of what they send and take."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from fedtier.problems import (
    MEDIA_TYPE,
    MethodNotAllowed,
    Problem,
    RangeNotSatisfiable,
    SlowDown,
    Unauthenticated,
    Unavailable,
)
from fedtier.serving import schemas
from fedtier.serving.operations import Answer, Operation
from fedtier.serving.schemas import Schema

PROTOCOL_VERSION: Final = "1"
_HEADERS: Final[dict[type[Problem], tuple[str, ...]]] = {
    Unauthenticated: ("WWW-Authenticate",),
    MethodNotAllowed: ("Allow",),
    RangeNotSatisfiable: ("Content-Range",),
    SlowDown: ("Retry-After",),
    Unavailable: ("Retry-After",),
}
_DESCRIPTION: Final = """\
Clients send updates to a worker aggregator, or to the master; workers send partial sums to the master, or to another
worker; everyone asks the same questions of either. Operations of `operator` that close or pause are the master's alone.

Servers with keys ask for a signed token, a JWT with a role and a subject, for everything but `/healthz` and `/readyz`.
A server without keys, which only this machine reaches, takes anyone.

Every refusal is a problem document (RFC 9457). Every 200 and 409 of an upload carries `round` and `attempt`: whoever
knows of a later pair ignores it. Sending again is safe after any answer, and after none."""


def openapi_document(operations: Sequence[Operation]) -> Schema:
    """Return the document.

    Parameters
    ----------
    operations : sequence of Operation
        Those that the server has.

    Returns
    -------
    dict
        JSON; equal for equal operations.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fedtier",
            "version": PROTOCOL_VERSION,
            "summary": "Federated-learning aggregation with exact sums",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The aggregator that served this document."}],
        "security": [{"bearer": []}],
        "tags": [
            {"name": "rounds", "description": "What anyone with a token may ask."},
            {"name": "uploads", "description": "What clients and workers send."},
            {"name": "operator", "description": "What an operator may do."},
            {"name": "health", "description": "For load balancers and orchestrators."},
        ],
        "paths": _paths(operations),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": schemas.document_schemas() | schemas.problem_schemas(),
            "parameters": dict(schemas.PARAMETERS),
            "headers": dict(schemas.HEADERS),
            "requestBodies": {name: schemas.BODIES[name] for name in _bodies(operations)},
            "responses": _refusals(operations),
            "links": {
                name: schemas.LINKS[name]
                for op in operations
                for answer in op.answers.values()
                for name in answer.links
            },
        },
    }


def openapi_json(operations: Sequence[Operation]) -> bytes:
    """Return the document's bytes."""
    return json.dumps(openapi_document(operations), ensure_ascii=False, separators=(",", ":")).encode()


def _paths(operations: Iterable[Operation]) -> Schema:
    paths: Schema = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return paths


def _operation(operation: Operation) -> Schema:
    described: Schema = {"operationId": operation.name, "tags": [operation.tag], "summary": operation.summary}
    if operation.description:
        described["description"] = operation.description
    if operation.roles is None:
        described["security"] = []
    else:
        described["security"] = [{"bearer": list(operation.roles)}]
    if operation.parameters:
        described["parameters"] = [_component("parameters", name) for name in operation.parameters]
    if operation.body is not None:
        described["requestBody"] = _component("requestBodies", operation.body)
    described["responses"] = {
        **{str(status): _answer(answer) for status, answer in operation.answers.items()},
        **{str(status): _refusal_of(problems) for status, problems in _by_status(operation)},
    }
    return described


def _answer(answer: Answer) -> Schema:
    described: Schema = {"description": answer.description}
    if answer.headers:
        described["headers"] = {name: _component("headers", name) for name in answer.headers}
    if answer.media_type is not None:
        described["content"] = {answer.media_type: {"schema": _body_schema(answer)}}
    if answer.links:
        described["links"] = {name: _component("links", name) for name in answer.links}
    return described


def _body_schema(answer: Answer) -> Schema:
    if answer.schema is not None:
        return schemas.reference(answer.schema)
    return {"type": "string"} if answer.media_type == "text/plain" else {"type": "string", "format": "binary"}


def _by_status(operation: Operation) -> list[tuple[int, list[type[Problem]]]]:
    return [(status, list(found)) for status, found in groupby(operation.all_problems, lambda problem: problem.status)]


def _refusals(operations: Iterable[Operation]) -> Schema:
    """Return the answers of all problems that stand alone for their status somewhere, and are described once."""
    alone = {found[0] for operation in operations for _, found in _by_status(operation) if len(found) == 1}
    ordered = sorted(alone, key=lambda problem: (problem.status, problem.name))
    return {problem.__name__: _refusal([problem]) for problem in ordered}


def _refusal_of(problems: Sequence[type[Problem]]) -> Schema:
    if len(problems) == 1:
        return _component("responses", problems[0].__name__)
    return _refusal(problems)


def _refusal(problems: Sequence[type[Problem]]) -> Schema:
    bodies = [schemas.reference(problem.__name__) for problem in problems]
    said = [f"`{problem.name}`: {problem.title}" for problem in problems]
    described: Schema = {"description": said[0] if len(said) == 1 else "One of these:\n\n- " + "\n- ".join(said)}
    headers = sorted({name for problem in problems for name in _HEADERS.get(problem, ())})
    if headers:
        described["headers"] = {name: _component("headers", name) for name in headers}
    described["content"] = {MEDIA_TYPE: {"schema": bodies[0] if len(bodies) == 1 else {"oneOf": bodies}}}
    return described


def _bodies(operations: Iterable[Operation]) -> list[str]:
    return [operation.body for operation in operations if operation.body is not None]


def _component(kind: str, name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/{kind}/{name}"}
