"""The Flask app around a tier: what both aggregators answer in the same way.

A tier knows nothing of HTTP: it is asked for documents and files, and gets checked
entries to count. Everything it refuses is a `Problem`, and becomes an answer in `answers`.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final, Protocol

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from fedtier.crash_points import CrashPoint, reach
from fedtier.entries import (
    Entry,
    Received,
    partial_size_limit,
    read_partial,
    read_update,
    update_size_limit,
)
from fedtier.fields import require_id, sha256_hex
from fedtier.header import header_length
from fedtier.problems import (
    BadRequest,
    Problem,
    SlowDown,
    Unavailable,
)
from fedtier.rounds import PartialReceipt, RoundPlan, RoundStatus, UpdateReceipt
from fedtier.serving.access import Gate, peer_certificate, require
from fedtier.serving.answers import add_protection, answer_bug, answer_http_exception, answer_problem
from fedtier.serving.buckets import TokenBuckets
from fedtier.serving.downloads import Downloads, ModelElsewhere, ModelFile
from fedtier.serving.intake import BodyHeaders, read_body_headers, receive_body
from fedtier.serving.metrics import AggregatorMetrics
from fedtier.serving.observing import UploadWatch, WatchedUpload, observe_requests, show_metrics
from fedtier.serving.openapi import openapi_json
from fedtier.serving.operations import SHARED, Operation
from fedtier.serving.pacing import PollPacer
from fedtier.serving.refusal_log import RefusalLog
from fedtier.serving.refusals import HEADER as REFUSED_HEADER
from fedtier.serving.refusals import read_report
from fedtier.serving.shares import ParsingRoom, RequestRate, TransferSlots, client_of
from fedtier.serving.statedir import StateDirectory
from fedtier.upstream import content_digest

SPARE_THREADS: Final = 8
OPEN_ENDPOINTS: Final = frozenset({"healthz", "readyz"})
"""Answered without a token, for load balancers and orchestrators."""
_ROUND: Final = re.compile(r"[0-9]{1,9}")


class Upload(Protocol):
    """An upload that is coming in."""

    def bytes_came(self) -> None:
        """Say that it does not stand still."""
        ...


class Tier(Protocol):
    """What the app asks of an aggregator. Every call may raise a `Problem`."""

    def unready(self) -> str | None:
        """Return why the tier cannot take work, or None."""
        ...

    def status(self) -> RoundStatus:
        """Return the round as this tier knows it."""
        ...

    def admit(self, round_number: int, client_id: str | None) -> RoundPlan:
        """Return the plan that an upload for a round is checked against, or refuse it by its address alone."""
        ...

    def receiving(self) -> AbstractContextManager[Upload]:
        """Tell the tier that an upload is coming in, until its entry is given to be settled or it breaks off."""
        ...

    def settle_update(self, entry: Entry, upload: Upload) -> UpdateReceipt:
        """Count an update; returns when it is counted."""
        ...

    def settle_partial(self, entry: Entry, upload: Upload, batch_id: str) -> PartialReceipt:
        """Count a partial; returns when it is counted."""
        ...

    def note_refused(self, refused: Mapping[str, int]) -> None:
        """Take note of updates that were refused here or further down, by the names of their problems."""
        ...

    def model(self, round_number: int) -> ModelFile | ModelElsewhere:
        """Return the model of a published round."""
        ...

    def manifest(self, round_number: int) -> bytes:
        """Return the manifest of a published round."""
        ...


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
    app.before_request(lambda: _identify(gate))
    app.before_request(lambda: rate.count(client_of(g.get("bearer"))))
    app.after_request(add_protection)
    _answer_errors(app)
    _answer_health(app, tier, state)
    downloads = Downloads(tier.model, slots)
    _describe(app, operations)
    _show_round(app, tier, downloads)
    _serve_published(app, tier, downloads)
    _take_uploads(app, Uploads(tier, state, slots, UploadWatch(metrics, refusals)))
    show_metrics(app, metrics)
    return app


def _identify(gate: Gate) -> None:
    """Find out who asks, whatever they ask for: a path that is added later, or is not there, is closed as well."""
    # By its path, named as its endpoint: a method that such a path does not take has no endpoint.
    if request.path.removeprefix("/") not in OPEN_ENDPOINTS:
        g.bearer = gate.identify(request.headers.get("Authorization"), peer_certificate(request.environ))


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


def _show_round(app: Flask, tier: Tier, downloads: Downloads) -> None:
    documents = RoundDocuments(tier)

    @app.get("/v1/round")
    def current_round() -> BaseResponse:
        answer = documents.status()
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


class RoundDocuments:
    """`GET /v1/round`, answered from memory while nothing changed."""

    def __init__(self, tier: Tier) -> None:
        self._tier = tier
        self._lock = threading.Lock()
        self._pacer = PollPacer(time.monotonic())
        self._last: tuple[RoundStatus, float, bytes, str] | None = None

    def status(self) -> BaseResponse:
        """Return the round, or 304 when the asker has it."""
        status = self._tier.status()
        with self._lock:
            pace = self._pacer.poll(time.monotonic())
            if self._last is None or self._last[0] is not status or self._last[1] != pace:
                body = status.model_copy(update={"poll_after": pace}).to_json()
                self._last = status, pace, body, hashlib.sha256(body).hexdigest()[:32]
            _, _, body, etag = self._last
        response = _json(body)
        response.set_etag(etag)
        return response.make_conditional(request.environ)


class Uploads:
    """The way of an upload: address, role, headers, body, content, count."""

    def __init__(self, tier: Tier, state: StateDirectory, slots: TransferSlots, watch: UploadWatch) -> None:
        self._tier = tier
        self._state = state
        self._slots = slots
        self._parsing = ParsingRoom()
        self._watch = watch

    def update(self, number: str, client_id: str) -> UpdateReceipt:
        """Take a client's update."""
        with self._watch.upload("update") as seen, self._noting_refusal():
            return self._update(number, client_id, seen)

    def _update(self, number: str, client_id: str, seen: WatchedUpload) -> UpdateReceipt:
        round_number, client_id = parse_round(number), require_id(client_id, "client")
        require(g.bearer, roles={"client"}, subject=client_id)
        seen.known(round=round_number, client_id=client_id)
        with self._slots.take(client_id):
            plan = self._tier.admit(round_number, client_id)
            seen.known(attempt=plan.attempt)
            expected = read_body_headers(request.headers, limit=update_size_limit(plan))
            with self._tier.receiving() as upload:
                entry = self._receive(
                    plan, expected, (upload, seen), lambda body: self._read_update(plan, client_id, body)
                )
                receipt = self._tier.settle_update(entry, upload)
            reach(CrashPoint.UPLOAD_SETTLED, plan.round)
            return receipt

    def partial(self, number: str, batch_id: str) -> PartialReceipt:
        """Take a worker's partial."""
        with self._watch.upload("partial") as seen:
            return self._partial(number, batch_id, seen)

    def _partial(self, number: str, batch_id: str, seen: WatchedUpload) -> PartialReceipt:
        round_number, batch_id = parse_round(number), require_id(batch_id, "batch")
        require(g.bearer, roles={"worker"})
        seen.known(round=round_number, batch=batch_id)
        with self._slots.take(client_of(g.bearer)), ExitStack() as held:
            plan = self._tier.admit(round_number, None)
            seen.known(attempt=plan.attempt)
            expected = read_body_headers(request.headers, limit=partial_size_limit(plan))
            with self._tier.receiving() as upload:
                entry = self._receive(plan, expected, (upload, seen), lambda body: self._read_partial(plan, body, held))
                receipt = self._tier.settle_partial(entry, upload, batch_id)
            reach(CrashPoint.UPLOAD_SETTLED, plan.round)
            return receipt

    def _read_update(self, plan: RoundPlan, client_id: str, body: Received) -> Entry:
        with self._parsing.take(header_length(body.path)):
            return read_update(plan, client_id, body)

    def _read_partial(self, plan: RoundPlan, body: Received, held: ExitStack) -> Entry:
        """Check a partial, whose contributors stay in memory while it waits to be counted."""
        held.enter_context(self._parsing.take(header_length(body.path)))
        return read_partial(plan, body)

    @contextmanager
    def _noting_refusal(self) -> Iterator[None]:
        try:
            yield
        except (Unavailable, SlowDown):  # no refusal: the update comes again
            raise
        except Problem as problem:
            self._tier.note_refused({problem.name: 1})
            raise

    def _receive(
        self,
        plan: RoundPlan,
        expected: BodyHeaders,
        watchers: tuple[Upload, WatchedUpload],
        check: Callable[[Received], Entry],
    ) -> Entry:
        """Bring the body to disk and check it; a tier owns the file from the entry on."""
        upload, seen = watchers

        def bytes_came() -> None:
            upload.bytes_came()
            reach(CrashPoint.UPLOAD_UNDER_WAY, plan.round)

        reach(CrashPoint.UPLOAD_BEGUN, plan.round)
        body = receive_body(seen.body(request.stream, expected.length), expected, self._state, bytes_came)
        seen.received()
        reach(CrashPoint.UPLOAD_SPOOLED, plan.round)
        try:
            entry = check(body)
        except BaseException as error:
            self._state.drop(body.path)
            if isinstance(error, OSError):
                raise self._state.refuse(error) from error
            raise
        seen.checked()
        reach(CrashPoint.UPLOAD_CHECKED, plan.round)
        return entry


def parse_round(number: str) -> int:
    """Return a round number from a path.

    Raises
    ------
    BadRequest
    """
    if not _ROUND.fullmatch(number):
        raise BadRequest(f"the round {number[:40]!r} is not a number of at most nine digits")
    return int(number)


def _json(body: bytes) -> Response:
    return Response(body, content_type="application/json")


def _with_digests(response: Response) -> Response:
    digest = content_digest(sha256_hex(response.get_data()))
    response.headers["Repr-Digest"] = digest
    response.headers["Content-Digest"] = digest
    return response
