"""Holds answers against the OpenAPI document: status, headers, media type, and every member of the body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers
from werkzeug.test import TestResponse

from fedtier.serving.openapi import openapi_document
from fedtier.serving.operations import OPERATOR, SHARED

_OF_EVERY_SERVER: Final = {"head", "options"}
"""Methods that Flask answers by itself."""


class Described:
    """An OpenAPI document to which answers are held.

    Parameters
    ----------
    document : Mapping
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._paths = {
            re.compile(re.sub(r"\{[a-z_]+\}", "[^/]+", path)): operations
            for path, operations in document["paths"].items()
        }
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str] | Headers, body: bytes) -> None:
        """Check one answer; what is at no path, or of no method there, is a refusal like others."""
        operations = self._operations(path)
        if method.lower() in _OF_EVERY_SERVER or (operations is None and status == 500):
            return  # a test has made a route of its own, which fails
        if operations is not None and method.lower() in operations:
            responses = operations[method.lower()]["responses"]
        else:
            known = self._document["components"]["responses"]
            responses = {str(refused): known[name] for refused, name in _UNDESCRIBED.items()}
        assert str(status) in responses, f"{method} {path} answered {status}: {body[:300]!r}"
        response = self._resolved(responses[str(status)])
        for name, header in response.get("headers", {}).items():
            described = self._resolved(header)
            assert name in headers, f"{method} {path} answered {status} without {name}"
            value: object = headers[name]
            if described["schema"].get("type") == "integer":
                value = int(headers[name])
            self._validator(described["schema"]).validate(value)
        self._check_body(headers.get("Content-Type", ""), body, response.get("content"))

    def check_problem(self, document: object) -> None:
        """Check that a refusal of whatever request is one of the problems there are."""
        self._validator({"$ref": "#/components/schemas/Problem"}).validate(document)

    def _check_body(self, content_type: str, body: bytes, content: Mapping[str, Any] | None) -> None:
        if content is None:
            return
        media_type = content_type.partition(";")[0]
        assert media_type in content, f"{media_type} came, described is {', '.join(content)}"
        if media_type.endswith("json"):
            self._validator(content[media_type]["schema"]).validate(json.loads(body))

    def _operations(self, path: str) -> Mapping[str, Any] | None:
        return next((found for pattern, found in self._paths.items() if pattern.fullmatch(path)), None)

    def _resolved(self, described: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in described:
            return described
        found: Any = self._document
        for name in described["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        assert isinstance(found, Mapping)
        return found

    def _validator(self, schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
        key = json.dumps(schema)
        if key not in self._validators:
            whole = {**schema, "components": {"schemas": self._document["components"]["schemas"]}}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
        return self._validators[key]


_UNDESCRIBED: Final = {
    401: "Unauthenticated",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    429: "SlowDown",
}
"""Refusals of what is at no path, or of no method there."""


WORKER: Final = Described(openapi_document(SHARED))
MASTER: Final = Described(openapi_document((*SHARED, *OPERATOR)))


class MasterClient(FlaskClient):
    """Asks a master in this process, and holds each answer against its document."""

    described = MASTER

    def open(self, *arguments: Any, **options: Any) -> TestResponse:
        response = super().open(*arguments, **options)
        request = response.request
        self.described.check(request.method, request.path, response.status_code, response.headers, response.get_data())
        return response


class WorkerClient(MasterClient):
    """Asks a worker, likewise."""

    described = WORKER
