"""Counts and logs what an aggregator's HTTP side does, around the routes and the way of an upload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from flask import Flask, Response, g, request
from werkzeug.wrappers import Response as BaseResponse

from fedtier.metrics import Content, Kind, Outcome
from fedtier.problems import Problem, SlowDown, Unavailable
from fedtier.serving.access import require
from fedtier.serving.intake import ByteSource
from fedtier.serving.metrics import UNMATCHED, AggregatorMetrics
from fedtier.serving.refusal_log import RefusalLog


def observe_requests(app: Flask, metrics: AggregatorMetrics, refusals: RefusalLog, *, quiet: frozenset[str]) -> None:
    """Count every request of an app, and log those that are refused; to be called before other hooks are added.

    Parameters
    ----------
    app : Flask
    metrics : AggregatorMetrics
    refusals : RefusalLog
    quiet : frozenset of str
        Endpoints whose refusals are no news: somebody asks all the time whether they still refuse.
    """

    @app.before_request
    def begin() -> None:
        g.began = perf_counter()

    @app.after_request
    def end(response: BaseResponse) -> BaseResponse:
        route = request.url_rule.rule if request.url_rule else UNMATCHED
        metrics.answered(route, request.method, response.status_code, perf_counter() - g.began)
        content: Content = "model" if request.endpoint == "model" and response.status_code < 300 else "other"
        if request.method != "HEAD" and response.status_code != 304:  # which have the length of what is not sent
            metrics.traffic.sent(content, response.content_length or response.calculate_content_length() or 0)
        problem: Problem | None = g.get("problem")
        if problem is not None and request.endpoint not in quiet:
            metrics.refusals.add(problem.name)
            refusals.request(problem, request.remote_addr or "unknown")
        return response


def show_metrics(app: Flask, metrics: AggregatorMetrics) -> None:
    """Add ``GET /metrics``, for operators."""

    @app.get("/metrics")
    def metrics_text() -> Response:
        require(g.bearer, roles={"operator"})
        body, media_type = metrics.exposition(request.headers.get("Accept", ""))
        return Response(body, content_type=media_type)


class UploadWatch:
    """Sees what becomes of uploads.

    Parameters
    ----------
    metrics : AggregatorMetrics
    refusals : RefusalLog
    """

    def __init__(self, metrics: AggregatorMetrics, refusals: RefusalLog) -> None:
        self._metrics = metrics
        self._refusals = refusals

    @contextmanager
    def upload(self, kind: Kind) -> Iterator[WatchedUpload]:
        """Watch an upload while the block takes it."""
        seen = WatchedUpload(kind, self._metrics)
        outcome: Outcome = "failed"
        try:
            yield seen
            outcome = "counted"
        except Problem as problem:
            outcome = seen.outcome_of(problem)
            if outcome != "unavailable" and seen.about:
                self._refusals.upload(kind, problem, seen.about)
            raise
        finally:
            self._metrics.uploads.ended(kind, outcome)


class WatchedUpload:
    """An upload on its way: says where it is, and is a stream that counts its bytes."""

    def __init__(self, kind: Kind, metrics: AggregatorMetrics) -> None:
        self._kind = kind
        self._metrics = metrics
        self._length = 0
        self._came = 0
        self._at = 0.0
        self._is_too_slow = False
        self.about: dict[str, object] = {}
        """Names it in log lines; empty before it is known to come from somebody who may send it."""

    def known(self, **about: object) -> None:
        """Add to what names it."""
        self.about.update(about)

    def body(self, stream: ByteSource, length: int) -> ByteSource:
        """Return a stream that counts what is read of another.

        Parameters
        ----------
        stream : ByteSource
        length : int
            Bytes that are to come.
        """
        self._length = length
        self._at = perf_counter()
        return _Metered(stream, self._add, self._gave_up)

    def received(self) -> None:
        """Say that it is here whole."""
        self._at, began = perf_counter(), self._at
        self._metrics.received(self._kind, self._at - began)

    def checked(self) -> None:
        """Say that it passed its checks."""
        self._metrics.checked(self._kind, perf_counter() - self._at)

    def outcome_of(self, problem: Problem) -> Outcome:
        """Return what a refusal means for it."""
        if self._is_too_slow:  # also where the answer is that it may come again, over a faster way
            return "broken_off"
        if isinstance(problem, Unavailable | SlowDown):
            return "unavailable"
        return "broken_off" if self._at and self._came < self._length else "refused"

    def _add(self, size: int) -> None:
        self._came += size
        self._metrics.traffic.received(self._kind, size)

    def _gave_up(self) -> None:
        self._is_too_slow = True


class _Metered:
    """A stream that tells how much is read of it, and when it was given up as too slow."""

    def __init__(self, stream: ByteSource, add: Callable[[int], None], give_up: Callable[[], None]) -> None:
        self._stream = stream
        self._add = add
        self._give_up = give_up

    def readinto(self, buffer: memoryview) -> int:
        try:
            count = self._stream.readinto(buffer)
        except TimeoutError:
            self._give_up()
            raise
        self._add(count)
        return count
