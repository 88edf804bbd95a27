"""The Flask app around a tier: what both aggregators answer in the same way.

A tier knows nothing of HTTP: it is asked for documents and files, and gets checked
entries to count. Everything it refuses is a `Problem`, and becomes an answer in `answers`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from fedtier.fields import sha256_hex
from fedtier.problems import (
    Problem,
    Unavailable,
)
from fedtier.serving.access import Gate, peer_certificate
from fedtier.serving.answers import (
    add_protection,
    answer_bug,
    answer_http_exception,
    answer_problem,
    forget_impossible_dates,
)
from fedtier.serving.buckets import TokenBuckets
from fedtier.serving.downloads import Downloads
from fedtier.serving.metrics import AggregatorMetrics
from fedtier.serving.observing import UploadWatch, observe_requests, show_metrics
from fedtier.serving.openapi import openapi_json
from fedtier.serving.operations import SHARED, Operation
from fedtier.serving.refusal_log import RefusalLog
from fedtier.serving.refusals import HEADER as REFUSED_HEADER
from fedtier.serving.refusals import read_report
from fedtier.serving.round_documents import RoundDocuments
from fedtier.serving.shares import RequestRate, TransferSlots, client_of
from fedtier.serving.statedir import StateDirectory
from fedtier.serving.tier import Tier
from fedtier.serving.unchanged import ROUND_PATH, UnchangedRound
from fedtier.serving.uploads import Uploads, parse_round
from fedtier.tokens import Bearer
from fedtier.upstream import content_digest

if TYPE_CHECKING:  # there is no such module when programs run
    from _typeshed.wsgi import WSGIEnvironment

SPARE_THREADS: Final = 8
OPEN_ENDPOINTS: Final = frozenset({"healthz", "readyz"})
"""Answered without a token, for load balancers and orchestrators."""


def create_app(
    name: str,
    tier: Tier,
    gate: Gate,
    state: StateDirectory,
    metrics: AggregatorMetrics,
    *,
    threads: int,
    operations: Sequence[Operation] = SHARED,
) -> Flask:
    """Build the app of an aggregator.

    Parameters
    ----------
    name : str
        Of the Flask app.
    tier : Tier
    gate : Gate
    state : StateDirectory
        Where bodies are spooled.
    metrics : AggregatorMetrics
        Shown at ``/metrics``.
    threads : int
        Of the server; all but `SPARE_THREADS` may be taken by uploads.
    operations : sequence of Operation
        What the server's OpenAPI document describes.
    """
    app = Flask(name, static_folder=None)
    app.url_map.merge_slashes = False  # a path has one spelling, and nobody is sent on to a Host of their own choice
    slots = TransferSlots(max(1, threads - SPARE_THREADS))
    rate = RequestRate(TokenBuckets(), time.monotonic)
    refusals = RefusalLog(time.monotonic)
    metrics.watch(slots, state)
    observe_requests(app, metrics, refusals, quiet=OPEN_ENDPOINTS)

    def admit(environ: WSGIEnvironment) -> Bearer | None:
        bearer = gate.identify(environ.get("HTTP_AUTHORIZATION"), peer_certificate(environ))
        rate.count(client_of(bearer))
        return bearer

    app.before_request(lambda: _let_in(admit))
    app.before_request(forget_impossible_dates)
    app.after_request(add_protection)
    _answer_errors(app)
    _answer_health(app, tier, state)
    downloads = Downloads(tier.model, slots)
    _describe(app, operations)
    documents = RoundDocuments(tier)
    _show_round(app, tier, documents, downloads)
    _serve_published(app, tier, downloads)
    _take_uploads(app, Uploads(tier, state, slots, UploadWatch(metrics, refusals)))
    show_metrics(app, metrics)
    unchanged = UnchangedRound(app.wsgi_app, documents, admit, metrics)
    app.wsgi_app = unchanged  # type: ignore[method-assign]  # as Flask's documentation has it
    return app


def _let_in(admit: Callable[[WSGIEnvironment], Bearer | None]) -> None:
    """Find out who asks, whatever they ask for: a path that is added later, or is not there, is closed as well."""
    # By its path, named as its endpoint: a method that such a path does not take has no endpoint.
    if request.path.removeprefix("/") not in OPEN_ENDPOINTS:
        g.bearer = admit(request.environ)


def _answer_errors(app: Flask) -> None:
    app.register_error_handler(Problem, answer_problem)
    app.register_error_handler(HTTPException, answer_http_exception)
    app.register_error_handler(Exception, answer_bug)


def _answer_health(app: Flask, tier: Tier, state: StateDirectory) -> None:
    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        reason = state.unready() or tier.unready()
        if reason:
            raise Unavailable(reason, retry_after=1)
        return {"status": "ready"}


def _describe(app: Flask, operations: Sequence[Operation]) -> None:
    document = openapi_json(operations)

    @app.get("/v1/openapi.json")
    def openapi() -> BaseResponse:
        return _json(document)


def _show_round(app: Flask, tier: Tier, documents: RoundDocuments, downloads: Downloads) -> None:
    @app.get(ROUND_PATH)
    def current_round() -> BaseResponse:
        document = documents.take()
        answer: BaseResponse = _json(document.body)
        answer.headers["ETag"] = document.tag
        answer = answer.make_conditional(request.environ)
        if g.bearer is None or g.bearer.role == "client":  # a worker hears of it also while clients take every slot
            answer = downloads.small(answer, client_of(g.bearer))
        if g.bearer is None or g.bearer.role == "worker":  # only now: who gets a problem for an answer reports again
            tier.note_refused(read_report(request.headers.get(REFUSED_HEADER)))
        return answer


def _serve_published(app: Flask, tier: Tier, downloads: Downloads) -> None:
    @app.get("/v1/rounds/<number>/model")
    def model(number: str) -> BaseResponse:
        return downloads.model(parse_round(number), client_of(g.bearer))

    @app.get("/v1/rounds/<number>/manifest")
    def manifest(number: str) -> BaseResponse:
        round_number = parse_round(number)
        return downloads.document(lambda: _with_digests(_json(tier.manifest(round_number))), client_of(g.bearer))


def _take_uploads(app: Flask, uploads: Uploads) -> None:
    @app.put("/v1/rounds/<number>/updates/<client_id>")
    def update(number: str, client_id: str) -> BaseResponse:
        return _json(uploads.update(number, client_id).to_json())

    @app.put("/v1/rounds/<number>/partials/<batch_id>")
    def partial(number: str, batch_id: str) -> BaseResponse:
        return _json(uploads.partial(number, batch_id).to_json())


def _json(body: bytes) -> Response:
    return Response(body, content_type="application/json")


def _with_digests(response: Response) -> Response:
    digest = content_digest(sha256_hex(response.get_data()))
    response.headers["Repr-Digest"] = digest
    response.headers["Content-Digest"] = digest
    return response
