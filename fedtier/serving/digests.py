"""Digest fields of RFC 9530, read and written."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from fedtier.problems import BadRequest

MAX_FIELD: Final = 1024
"""Characters; a SHA-256 takes 55, and every other algorithm of RFC 9530 together some 300."""
_MEMBER: Final = re.compile(r"\s*([a-z0-9*_.-]+)=:([A-Za-z0-9+/]*={0,2}):\s*")
CONTENT_DIGEST: Final = f"{_MEMBER.pattern}(,{_MEMBER.pattern})*"
"""The form of the field, as a pattern."""


def parse_content_digest(field: str | None) -> str | None:
    """Return the SHA-256, in hex, that a `Content-Digest` field names; None when it names none.

    Raises
    ------
    BadRequest
        The field is malformed, or too long.
    """
    if field is None:
        return None
    if len(field) > MAX_FIELD:
        raise BadRequest(f"Content-Digest has {len(field)} characters; send no more than {MAX_FIELD}")
    found: str | None = None
    for member in field.split(","):
        match = _MEMBER.fullmatch(member)
        if not match:
            raise BadRequest(f"Content-Digest is {field[:100]!r}, not of the form sha-256=:<base64>:")
        if match[1] != "sha-256":
            continue
        try:
            raw = base64.b64decode(match[2], validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) != 32:
            raise BadRequest(f"Content-Digest is {field[:100]!r}; a SHA-256 has 32 bytes in base64")
        found = raw.hex()
    return found
