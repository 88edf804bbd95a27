"""What an answer over HTTP that refuses says, as the problem it is."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import requests

from fedtier.documents import json_object
from fedtier.problems import Problem, problem_from_document
from fedtier.urls import shown_url


def refusal(response: requests.Response) -> Problem:
    """Return the problem that an answer of status 400 or more is; where it is no document of ours, one that says so."""
    with response:
        document = json_object(response.content)
    retry_after = _retry_after(response.headers)
    if not document:
        said = f"{shown_url(response.url)} answered {response.status_code} {response.reason}"
        problem = Problem(said, retry_after=retry_after)
    else:
        problem = problem_from_document(document, retry_after=retry_after)
    problem.members.setdefault("status", response.status_code)
    return problem


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a `Retry-After`, which may be given as a date (RFC 9110, section 10.2.3)."""
    after = headers.get("Retry-After", "")
    if after.isascii() and after.replace(".", "", 1).isdigit():
        return float(after)
    try:
        # By the clock of whoever wrote both.
        wait = parsedate_to_datetime(after) - parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return max(wait.total_seconds(), 0.0)
