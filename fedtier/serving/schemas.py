"""What the OpenAPI document says of documents, problems, parameters, headers and bodies, by name.

Documents are described by their pydantic models and problems by their classes, so that both cannot say another thing
than the code; what only prose can say stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fedtier.fields import CLIENT_ID
from fedtier.problems import (
    PROBLEMS,
    AlreadyCounted,
    AttemptOver,
    DuplicateContributors,
    NotFinite,
    NotSafetensors,
    NotSelected,
    OutOfRange,
    Problem,
    RoundNotOpen,
    RoundOver,
    SchemaMismatch,
    TooLarge,
    WeightLimit,
)
from fedtier.rounds import (
    Counted,
    InitialManifest,
    PartialHeader,
    PartialReceipt,
    RoundManifest,
    RoundStatus,
    UpdateReceipt,
)
from fedtier.serving.digests import CONTENT_DIGEST
from fedtier.serving.refusals import HEADER as REFUSED_HEADER

Schema: TypeAlias = dict[str, Any]

DOCUMENTS: Final[tuple[type[BaseModel], ...]] = (
    *(RoundStatus, RoundManifest, InitialManifest, UpdateReceipt, PartialReceipt),
    *(PartialHeader, Counted),
)
"""What is sent as JSON; what they hold is described with them."""
REFERENCE: Final = "#/components/schemas/{model}"

_SIZES: Final[Schema] = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_SPEC: Final[Schema] = {
    "type": ["object", "null"],
    "required": ["dtype", "shape"],
    "properties": {"dtype": {"type": "string"}, "shape": _SIZES},
}
_TENSOR: Final[Schema] = {"type": "string", "description": "Name of the tensor."}
_VALUE: Final[Schema] = {"type": "string", "description": "The value seen."}
_NOW: Final[Mapping[str, Schema]] = {
    "round": {"type": "integer", "minimum": 1, "description": "The open round."},
    "attempt": {"type": "integer", "minimum": 1, "description": "Its attempt."},
}

ALWAYS: Final[Mapping[type[Problem], Mapping[str, Schema]]] = {
    **dict.fromkeys((RoundOver, RoundNotOpen, AttemptOver, NotSelected, WeightLimit), _NOW),
    AlreadyCounted: {
        **_NOW,
        "counted": {
            "type": "array",
            "items": {"$ref": REFERENCE.format(model="Counted")},
            "description": "Contributors that are counted, by the digests that counted.",
        },
    },
    TooLarge: {"limit": {"type": "integer", "minimum": 0, "description": "The most bytes that are taken."}},
    NotSafetensors: {"byte": {"type": "integer", "minimum": 0, "description": "Where the file is wrong."}},
    NotFinite: {"tensor": _TENSOR, "index": _SIZES, "value": _VALUE},
    DuplicateContributors: {"client_id": {"type": "string", "description": "Who is listed twice."}},
}
"""Members that a problem has besides those of RFC 9457."""
SOMETIMES: Final[Mapping[type[Problem], Mapping[str, Schema]]] = {
    SchemaMismatch: {"tensor": _TENSOR, "expected": _SPEC, "got": _SPEC},
    OutOfRange: {"tensor": _TENSOR, "index": _SIZES, "value": _VALUE},
}
"""Members that it has where they are known."""


def document_schemas() -> dict[str, Schema]:
    """Return the schemas of all documents, by the names of their models."""
    models = [(model, "serialization") for model in DOCUMENTS]
    _, described = models_json_schema(models, ref_template=REFERENCE)  # type: ignore[arg-type]  # a list of literals
    schemas: dict[str, Schema] = described["$defs"]
    return {
        **schemas,
        "Manifest": {"anyOf": [reference("RoundManifest"), reference("InitialManifest")]},
        "Alive": _status("alive"),
        "Ready": _status("ready"),
        "OpenApi": {"type": "object", "required": ["openapi"], "properties": {"openapi": {"const": "3.1.0"}}},
    }


def problem_schemas() -> dict[str, Schema]:
    """Return the schemas of all problems, by the names of their classes."""
    return {"Problem": _any_problem(), **{problem.__name__: _problem(problem) for problem in PROBLEMS}}


def reference(model: str) -> Schema:
    """Return what stands for a schema that is described once."""
    return {"$ref": REFERENCE.format(model=model)}


def _status(value: str) -> Schema:
    return {"type": "object", "required": ["status"], "properties": {"status": {"const": value}}}


def _any_problem() -> Schema:
    return {
        "type": "object",
        "description": "A problem document of RFC 9457. Programs test `type`, people read `detail`.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "enum": [problem.uri() for problem in PROBLEMS]},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {
                "type": "string",
                "description": "What was wrong, the value seen, the value wanted, what to do next.",
            },
        },
    }


def _problem(problem: type[Problem]) -> Schema:
    always = ALWAYS.get(problem, {})
    members = {
        "type": {"const": problem.uri()},
        "title": {"const": problem.title},
        "status": {"const": problem.status},
        **always,
        **SOMETIMES.get(problem, {}),
    }
    described: Schema = {"type": "object", "properties": members}
    if always:
        described["required"] = list(always)
    return {"description": (problem.__doc__ or "").replace("``", "`"), "allOf": [reference("Problem"), described]}


PARAMETERS: Final[Mapping[str, Schema]] = {
    "Round": {
        "name": "round",
        "in": "path",
        "required": True,
        "description": "A round's number, in at most nine digits.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
        "example": 1,
    },
    "ClientId": {
        "name": "client_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": f"^{CLIENT_ID.pattern}$"},
        "example": "client-3",
    },
    "BatchId": {
        "name": "batch_id",
        "in": "path",
        "required": True,
        "description": "A random name; a batch that is sent again keeps its name.",
        "schema": {"type": "string", "pattern": f"^{CLIENT_ID.pattern}$"},
        "example": "5f1d6c0a9b7e4c3f8a2d1e0b9c8f7a6d",
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The `ETag` of what the asker has.",
        "schema": {"type": "string"},
    },
    "Range": {
        "name": "Range",
        "in": "header",
        "description": "The bytes wanted, as in `bytes=1000-`; what is malformed is ignored.",
        "schema": {"type": "string"},
    },
    "ContentDigest": {
        "name": "Content-Digest",
        "in": "header",
        "description": "The body's digest (RFC 9530): `sha-256=:<base64>:` is always checked, others are not.",
        "schema": {"type": "string", "pattern": f"^{CONTENT_DIGEST}$"},
    },
    "FedtierRefused": {
        "name": REFUSED_HEADER,
        "in": "header",
        "description": "Of a worker: how many updates it refused since its last poll, by reason, as in "
        "`round-over=2, not-selected=1`; what is malformed is ignored.",
        "schema": {"type": "string"},
    },
}

_DIGEST: Final[Schema] = {"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/]{43}=:$"}
_HEADERS: Final[Mapping[str, Schema]] = {
    "ETag": {"schema": {"type": "string", "pattern": '^"[0-9a-f]+"$'}},
    "Repr-Digest": {"description": "Of the whole file (RFC 9530).", "schema": _DIGEST},
    "Content-Digest": {"description": "Of this body (RFC 9530).", "schema": _DIGEST},
    "Accept-Ranges": {"schema": {"const": "bytes"}},
    "Cache-Control": {"description": "Private: not for a cache that others share.", "schema": {"type": "string"}},
    "Content-Range": {"schema": {"type": "string", "pattern": r"^bytes ([0-9]+-[0-9]+|\*)/[0-9]+$"}},
    "Location": {"schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds after which sending again makes sense.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"schema": {"type": "string", "pattern": "^Bearer"}},
    "Allow": {"description": "The methods that the path takes.", "schema": {"type": "string"}},
}

HEADERS: Final[Mapping[str, Schema]] = {name: {**header, "required": True} for name, header in _HEADERS.items()}
"""An answer lists those that it always has."""

_BYTES: Final[Schema] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
BODIES: Final[Mapping[str, Schema]] = {
    "Update": {
        "required": True,
        "description": """\
A safetensors file: 8 bytes, the length of the header, little-endian; the header, a JSON object; the data of all
tensors, without gaps. It holds the tensors of the round's `schema`, each with its name, dtype and shape, in any order.
A tensor of dtype `F32` and kind `float` may be `BF16` or `F16` instead: it counts as the float32 numbers that it holds.

`__metadata__` holds `num_examples`, a whole number of at most `max_examples` in decimal digits, and may hold `metrics`,
a flat JSON object of finite numbers in at most 4 KB, of which `loss` and `accuracy` are shown to people:
`{"num_examples": "600", "metrics": "{\\"loss\\": 0.31}"}`.

`Content-Length` is needed. What the address and the headers rule out is refused before the body is read.""",
        "content": _BYTES,
    },
    "Partial": {
        "required": True,
        "description": """\
A safetensors file of integer sums. Each tensor of the round's `schema` that is summed is there as `<name>` in I64, or
as `<name>.lo` in U32 with `<name>.hi` in I8, I16 or I32, its upper half; a tensor of kind `wide` has the shape
`[8, *shape]`, its eight limbs of 39 bits in front, high first; one of kind `kept` is absent.

`__metadata__` has one key, `partial`: the JSON of a `PartialHeader`, which lists the contributors.

`Content-Length` is needed. What the address and the headers rule out is refused before the body is read.""",
        "content": _BYTES,
    },
}

LINKS: Final[Mapping[str, Schema]] = {
    "GetBaseModel": {
        "operationId": "getModel",
        "parameters": {"round": "$response.body#/base/round"},
        "description": "The model that the round trains on.",
    },
    "GetBaseManifest": {
        "operationId": "getManifest",
        "parameters": {"round": "$response.body#/base/round"},
        "description": "What was published last.",
    },
}
