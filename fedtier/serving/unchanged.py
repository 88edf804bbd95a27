"""Polls of a round that has not changed, answered before Flask, which takes longer for one than all else together.

They pass the same gates as every request, and are counted in the same way. Whatever is not so plain, and every refusal,
is the app's to answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Final

from fedtier.serving.answers import PROTECTION
from fedtier.serving.metrics import AggregatorMetrics
from fedtier.serving.refusals import HEADER
from fedtier.serving.round_documents import RoundDocuments

if TYPE_CHECKING:  # there is no such module when programs run
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ROUND_PATH: Final = "/v1/round"
_REPORT: Final = "HTTP_" + HEADER.upper().replace("-", "_")


class UnchangedRound:
    """Stands before an app.

    Parameters
    ----------
    app : callable
        By WSGI.
    documents : RoundDocuments
    admit : callable
        Asked of a request's environ whether whoever sent it may ask now; raises a `Problem` where not.
    metrics : AggregatorMetrics
    """

    def __init__(
        self,
        app: WSGIApplication,
        documents: RoundDocuments,
        admit: Callable[[WSGIEnvironment], object],
        metrics: AggregatorMetrics,
    ) -> None:
        self._app = app
        self._documents = documents
        self._admit = admit
        self._metrics = metrics

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer that nothing changed, or have the app answer."""
        began = perf_counter()
        if not self._is_unchanged(environ):
            return self._app(environ, start_response)
        start_response("304 NOT MODIFIED", [("ETag", environ["HTTP_IF_NONE_MATCH"]), *PROTECTION])
        self._metrics.answered(ROUND_PATH, "GET", 304, perf_counter() - began)
        return ()

    def _is_unchanged(self, environ: WSGIEnvironment) -> bool:
        """Say whether a request is a poll, of somebody who may poll, that finds what the asker knows; count it then."""
        if environ["PATH_INFO"] != ROUND_PATH or environ["REQUEST_METHOD"] != "GET" or _REPORT in environ:
            return False
        try:
            pace = self._documents.pace_of(environ.get("HTTP_IF_NONE_MATCH"))
            if pace is None:
                return False
            self._admit(environ)
        except Exception:  # of whatever kind: the app meets it too, and answers and logs it
            return False
        self._documents.told(pace)
        return True
