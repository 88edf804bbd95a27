"""Refusals as HTTP answers, sent so that their senders read them."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from typing import IO, Any, Final

import structlog
from flask import Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from fedtier.problems import (
    MEDIA_TYPE,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    Problem,
    RangeNotSatisfiable,
)

DRAIN_LIMIT: Final = 1 << 20
SILENCE: Final = 60.0
"""Seconds that a sender or a reader may stand still before its connection is given up, and the thread is free again."""
_DRAIN_SECONDS: Final = 2.0


def answer_problem(problem: Problem) -> Response:
    """Return a problem as the answer of RFC 9457; what is left of the body is dropped after it was sent."""
    g.problem = problem  # for whoever counts and logs refusals
    response = Response(json.dumps(problem.document()), status=problem.status, content_type=MEDIA_TYPE)
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(problem.retry_after)))
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    environ, stream = request.environ, request.stream
    response.call_on_close(lambda: _drain(environ, stream))
    return response


def _drain(environ: Mapping[str, Any], stream: IO[bytes]) -> None:
    """Read what the sender still sends, so that it sees the answer and not a reset connection; for a short time."""
    limit_silence(environ, _DRAIN_SECONDS)
    left, watchdog = DRAIN_LIMIT, _cut_off_later(environ)
    try:
        while left > 0 and (block := stream.read(min(left, 1 << 16))):
            left -= len(block)
    except Exception:
        structlog.get_logger().debug("sender gone before its body was drained")
    finally:
        watchdog.cancel()


def _cut_off_later(environ: Mapping[str, Any]) -> threading.Timer:
    """End the reading of a body that comes in drops, of which each keeps the silence short."""
    connection: socket.socket | None = environ.get("gunicorn.socket")

    def cut_off() -> None:
        with contextlib.suppress(OSError):
            if connection is not None:
                connection.shutdown(socket.SHUT_RD)

    watchdog = threading.Timer(_DRAIN_SECONDS, cut_off)
    watchdog.daemon = True
    if environ.get("CONTENT_LENGTH"):
        watchdog.start()
    return watchdog


def limit_silence(environ: Mapping[str, Any], seconds: float = SILENCE) -> None:
    """Have reads and writes of a request's connection fail that get no byte through; gunicorn sets no limit.

    Parameters
    ----------
    environ : Mapping
        Of the WSGI request.
    seconds : float
    """
    connection = environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(seconds)


def answer_http_exception(error: HTTPException) -> BaseResponse:
    """Return what Flask itself refuses as the problem it is; redirects as they are."""
    if error.code == 404:
        return answer_problem(NotFound(f"there is nothing at {request.path[:200]}"))
    if error.code == 405:
        return answer_problem(MethodNotAllowed(f"{request.path[:200]} does not take {request.method}"))
    if error.code == 416:
        return answer_problem(RangeNotSatisfiable(f"the range {request.headers.get('Range', '')[:100]!r} is not there"))
    if error.code is not None and 300 <= error.code < 400:
        return error.get_response()
    return answer_problem(BadRequest(error.description or error.name))


def answer_bug(error: Exception) -> Response:
    """Log what nobody foresaw, and answer 500 without saying more."""
    structlog.get_logger().error("a request failed", method=request.method, path=request.path, exc_info=error)
    return answer_problem(Problem("the server failed; its log says more", retry_after=1))
