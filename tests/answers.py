"""What an aggregator answers."""

from __future__ import annotations

import json
from typing import Any

from werkzeug.test import TestResponse


def problem(answer: TestResponse, status: int, name: str) -> dict[str, Any]:
    """Check that an answer is this problem, and return its document."""
    document: dict[str, Any] = json.loads(answer.data)
    assert (answer.status_code, document["type"]) == (status, f"urn:fedtier:problem:{name}"), document["detail"]
    assert answer.content_type == "application/problem+json"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    if status == 409:
        assert {"round", "attempt"} <= document.keys()
    if status in {429, 503}:
        assert int(answer.headers["Retry-After"]) >= 1
    return document
