"""One request and its answer, in a thread of the pool: the head is there, and the app is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from gunicorn.config import Config
from gunicorn.http import Request, wsgi
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException

from fedtier.problems import MEDIA_TYPE, BadRequest, Problem
from fedtier.serving.front.bodies import sized
from fedtier.serving.front.connection_watch import ConnectionWatch
from fedtier.serving.front.flows import Outflow, TooSlow
from fedtier.serving.front.limits import Limits
from fedtier.serving.front.peers import Peer
from fedtier.tls_failures import TLS_SCHEME

Application = Callable[[MutableMapping[str, Any], Callable[..., Any]], Iterable[bytes]]
HEAD_TOO_LARGE: Final = BadRequest("the head of the request is larger than this server reads; send fewer headers")
PLAIN_HTTP: Final = BadRequest("this port speaks TLS; write its address with https://", scheme=TLS_SCHEME)
_READ_OVER: Final = 1 << 16
"""Bytes of a body nobody wanted that are dropped to keep a connection, if they came already."""


class Exchanges:
    """Answers requests.

    Parameters
    ----------
    app : callable
        By WSGI.
    config : Config
        gunicorn's.
    limits : Limits
    goes_on : callable
        Says whether connections are kept for another request.
    watch : ConnectionWatch
        Is told of those that are cut off.
    """

    def __init__(
        self,
        app: Application,
        config: Config,
        limits: Limits,
        goes_on: Callable[[], bool],
        watch: ConnectionWatch,
    ) -> None:
        self._app = app
        self._config = config
        self._limits = limits
        self._goes_on = goes_on
        self._watch = watch

    def answer(self, peer: Peer) -> None:
        """Answer a request whose head has come; `Peer.unsent` and `Peer.stays` say what is left to do.

        Raises
        ------
        OSError
            The connection is lost.
        """
        peer.stays = False
        try:
            request = next(peer.parser)
        except StopIteration:
            return
        except ParseException as error:
            problem = _unreadable(error)
            is_too_large = problem is HEAD_TOO_LARGE
            self._watch.let_go("head_too_large" if is_too_large else "malformed_head", peer.address, problem.detail)
            peer.unsent += refusal(problem)
            return
        if peer.is_secure:
            request.scheme = "https"
        try:
            self._ask(peer, request)
        except TooSlow as error:
            self._watch.let_go("slow_download", peer.address, str(error))
            raise
        except OSError:
            raise
        except Exception:
            structlog.get_logger().exception("an answer broke off")
            raise ConnectionAbortedError("an answer broke off") from None
        finally:
            if peer.inflow.too_slow is not None:  # the app took that for an answer
                self._watch.let_go("slow_upload", peer.address, str(peer.inflow.too_slow))

    def _ask(self, peer: Peer, request: Request) -> None:
        flow = Outflow(peer.sock, self._limits)
        peer.inflow.wait(patiently=True)
        assert request.body is not None  # as of every request that was parsed
        request.body = sized(request.body, peer.inflow)
        to: Any = flow  # has of a socket what gunicorn's response uses
        response, environ = wsgi.create(request, to, peer.client, peer.server, self._config)
        environ["gunicorn.socket"] = peer.sock
        environ["wsgi.multithread"] = True

        def start_response(*answer: Any) -> Any:
            if not (self._goes_on() and _is_over(peer, request)):
                response.force_close()
            return response.start_response(*answer)

        body: Any = self._app(environ, start_response)
        try:
            if isinstance(body, wsgi.FileWrapper):
                response.write_file(body)
            else:
                for block in body:
                    response.write(block)
            response.close()
            flow.flush()
        finally:
            if hasattr(body, "close"):
                body.close()
        peer.unsent = flow.unsent
        peer.stays = not response.should_close()


def _is_over(peer: Peer, request: Request) -> bool:
    """Drop what has come of a body that nobody wanted, and say whether that was all of it."""
    assert request.body is not None
    peer.inflow.wait(patiently=False)
    try:
        return len(request.body.read(_READ_OVER)) < _READ_OVER
    except (OSError, ParseException):
        return False


def _unreadable(error: ParseException) -> BadRequest:
    """Return the answer for a head that gunicorn's parser refused; what it says itself may show a header's value."""
    if isinstance(error, LimitRequestLine | LimitRequestHeaders):
        return HEAD_TOO_LARGE
    return BadRequest(f"the head of the request is malformed: {type(error).__name__}; send HTTP/1.1 as in RFC 9112")


def refusal(problem: Problem) -> bytes:
    """Return a problem as the last answer of a connection, where there is no request that an app could answer."""
    body = json.dumps(problem.document()).encode()
    head = (
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\nConnection: close\r\n"
        f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode() + body
