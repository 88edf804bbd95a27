"""Refusals as HTTP answers."""

from __future__ import annotations

import json
from typing import Final

import structlog
from flask import Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_date
from werkzeug.wrappers import Response as BaseResponse

from fedtier.problems import (
    MEDIA_TYPE,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    Problem,
    RangeNotSatisfiable,
)

_KEPT_HEADERS: Final = ("Allow", "Content-Range")
"""What Flask's own refusals say besides, and whoever asks is told: which methods there are, how long the file is."""
PROTECTION: Final = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
"""Headers that have no cache keep, and no browser guess at, what was meant for whoever asked."""
_CONDITIONS: Final = {"HTTP_IF_MODIFIED_SINCE": "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_RANGE": "HTTP_RANGE"}
"""Headers that may hold a date, and what is asked for on that condition; by their names in WSGI."""


def forget_impossible_dates() -> None:
    """Take conditions out of a request that are no date, as RFC 9110 has it; werkzeug fails at the largest years."""
    for condition, what in _CONDITIONS.items():
        try:
            parse_date(request.environ.get(condition))
        except OverflowError:
            request.environ.pop(condition)
            request.environ.pop(what, None)


def answer_problem(problem: Problem) -> Response:
    """Return a problem as the answer of RFC 9457."""
    g.problem = problem  # for whoever counts and logs refusals
    response = Response(json.dumps(problem.document()), status=problem.status, content_type=MEDIA_TYPE)
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(problem.retry_after)))
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def add_protection(response: BaseResponse) -> BaseResponse:
    """Add `PROTECTION` to an answer, but for what it says itself otherwise."""
    for name, value in PROTECTION:
        response.headers.setdefault(name, value)
    return response


def answer_http_exception(error: HTTPException) -> BaseResponse:
    """Return what Flask itself refuses as the problem it is; redirects as they are."""
    if error.code is not None and 300 <= error.code < 400:
        return error.get_response()
    response = answer_problem(_problem_of(error))
    response.headers.extend(item for item in error.get_headers(request.environ) if item[0] in _KEPT_HEADERS)
    return response


def _problem_of(error: HTTPException) -> Problem:
    if error.code == 404:
        return NotFound(f"there is nothing at {request.path[:200]}")
    if error.code == 405:
        return MethodNotAllowed(f"{request.path[:200]} does not take {request.method}")
    if error.code == 416:
        return RangeNotSatisfiable(f"the range {request.headers.get('Range', '')[:100]!r} is not there")
    return BadRequest(error.description or error.name)


def answer_bug(error: Exception) -> Response:
    """Log what nobody foresaw, and answer 500 without saying more."""
    structlog.get_logger().error("a request failed", method=request.method, path=request.path[:200], exc_info=error)
    return answer_problem(Problem("the server failed; its log says more", retry_after=1))
