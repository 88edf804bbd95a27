"""What all JSON documents have in common: how strictly they are read, and that equal content gives equal bytes."""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from fedtier.problems import BadRequest


class Document(BaseModel):
    """A frozen JSON document that refuses unknown members where it is received."""

    # What is sent has every member, those with a default too.
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, json_schema_serialization_defaults_required=True
    )

    def to_json(self) -> bytes:
        """Return the document's bytes: members in the order of the model, no white space."""
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Parse and check.

        Raises
        ------
        BadRequest
            Names the first member that is wrong, the value seen and what was expected.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise BadRequest(f"not a {cls.__name__} document: {first_error(error)}") from None


class Lenient(Document):
    """A document read by programs of other versions, which skip members they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


def first_error(error: ValidationError) -> str:
    """Return the first thing pydantic found wrong, as one line."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "document"
    return f"{where}: {first['msg']} (got {str(first['input'])[:80]!r})"


def json_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object, or an empty one where the bytes are none."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
