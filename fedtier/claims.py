"""What a token says, read without its signature: enough for who presents it, and no cryptography to load."""

from __future__ import annotations

import base64
from typing import Any, Final

from fedtier.documents import json_object

DEFAULT_AUDIENCE: Final = "fedtier"
"""The name of a federation that has no other."""


def unverified_claims(token: str) -> dict[str, Any]:
    """Return what a token says without looking at its signature: for who presents it, never for who receives it."""
    return json_part(token.split(".")[1]) if token.count(".") == 2 else {}


def json_part(part: str) -> dict[str, Any]:
    """Return the JSON object in a part of a token; empty for anything else."""
    try:
        return json_object(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return {}
