"""What can be wrong with a request: RFC 9457 problem documents, one class each.

A problem is raised where it is found, becomes an HTTP answer in one place
(`fedtier.serving.shell`), and becomes the same exception again at the caller
(`problem_from_document`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

MEDIA_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:fedtier:problem:"


class Problem(Exception):
    """A refusal with a name that programs test and a sentence that people read.

    Parameters
    ----------
    detail : str
        What was wrong, the value seen, the value wanted, what to do next.
    retry_after : float, optional
        Seconds after which sending again makes sense; becomes `Retry-After`.
    **members : Any
        Extension members of the document, for example ``round`` and ``attempt``.
    """

    status: ClassVar[int] = 500
    name: ClassVar[str] = "internal"
    title: ClassVar[str] = "The server failed"

    def __init__(self, detail: str, *, retry_after: float | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.members = members

    @classmethod
    def uri(cls) -> str:
        """Return what names the problem in a document."""
        return _TYPE_PREFIX + cls.name

    def document(self) -> dict[str, Any]:
        """Return the JSON object of RFC 9457, section 3."""
        return {
            **self.members,
            "type": self.uri(),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }


class BadRequest(Problem):
    """A malformed id, header or JSON document."""

    status, name, title = 400, "bad-request", "The request is malformed"


class Unauthenticated(Problem):
    """No token, or one that does not verify."""

    status, name, title = 401, "unauthenticated", "A valid token is needed"


class Forbidden(Problem):
    """A valid token for something else."""

    status, name, title = 403, "forbidden", "The token is for something else"


class NotFound(Problem):
    """No such round is published, or no such path exists."""

    status, name, title = 404, "not-found", "Nothing is published there"


class MethodNotAllowed(Problem):
    """The path exists and takes another method."""

    status, name, title = 405, "method-not-allowed", "The path takes another method"


class RoundOver(Problem):
    """The round is closed; its manifest says who is in it."""

    status, name, title = 409, "round-over", "The round is closed"


class RoundNotOpen(Problem):
    """The round is not open yet."""

    status, name, title = 409, "round-not-open", "The round is not open yet"


class AttemptOver(Problem):
    """A partial of an earlier attempt at the round."""

    status, name, title = 409, "attempt-over", "The round started over"


class AlreadyCounted(Problem):
    """A partial with contributors that are counted already, listed in ``counted``."""

    status, name, title = 409, "already-counted", "Some contributors are counted already"


class NotSelected(Problem):
    """The client is not in the cohort of this round."""

    status, name, title = 409, "not-selected", "The client is not in this round's cohort"


class WeightLimit(Problem):
    """The round has no room for so many examples."""

    status, name, title = 409, "weight-limit", "The round has no room for so many examples"


class LengthRequired(Problem):
    """A body without `Content-Length`."""

    status, name, title = 411, "length-required", "Content-Length is needed"


class TooLarge(Problem):
    """A body larger than anything this round can take."""

    status, name, title = 413, "too-large", "The body is too large"


class UnsupportedMediaType(Problem):
    """A body that is not `application/octet-stream`."""

    status, name, title = 415, "unsupported-media-type", "The body has the wrong media type"


class RangeNotSatisfiable(Problem):
    """A byte range outside the file."""

    status, name, title = 416, "range-not-satisfiable", "The byte range lies outside the file"


class NotSafetensors(Problem):
    """A body that does not parse; the detail says at which byte."""

    status, name, title = 422, "not-safetensors", "The body is not a safetensors file"


class SchemaMismatch(Problem):
    """A tensor differs from the round's schema in name, dtype or shape."""

    status, name, title = 422, "schema-mismatch", "A tensor differs from the round's schema"


class DigestMismatch(Problem):
    """The body is not what its digest says."""

    status, name, title = 422, "digest-mismatch", "The body is not what its digest says"


class NotFinite(Problem):
    """A tensor holds NaN or an infinity."""

    status, name, title = 422, "not-finite", "A value is not finite"


class OutOfRange(Problem):
    """A value that the round's exact sum cannot hold."""

    status, name, title = 422, "out-of-range", "A value is out of range"


class DuplicateContributors(Problem):
    """A partial that lists a client twice."""

    status, name, title = 422, "duplicate-contributors", "A client is listed twice"


class SlowDown(Problem):
    """Too many requests from one sender; sending again later is safe."""

    status, name, title = 429, "slow-down", "Too many requests"


class Unavailable(Problem):
    """The server cannot take work now; sending again is safe."""

    status, name, title = 503, "unavailable", "The server cannot take work now"


PROBLEMS: Final[tuple[type[Problem], ...]] = (
    *(BadRequest, Unauthenticated, Forbidden, NotFound, MethodNotAllowed),
    *(RoundOver, RoundNotOpen, AttemptOver, AlreadyCounted, NotSelected, WeightLimit),
    *(LengthRequired, TooLarge, UnsupportedMediaType, RangeNotSatisfiable),
    *(NotSafetensors, SchemaMismatch, DigestMismatch, NotFinite, OutOfRange, DuplicateContributors),
    *(SlowDown, Unavailable),
)
"""All that there are."""
_BY_NAME: Final[Mapping[str, type[Problem]]] = {problem.name: problem for problem in PROBLEMS}
NAMES: Final = frozenset(_BY_NAME)
"""Of all problems that there are."""


def problem_from_document(document: Mapping[str, Any], *, retry_after: float | None = None) -> Problem:
    """Return the exception that a problem document stands for.

    Parameters
    ----------
    document : Mapping
        A parsed `application/problem+json` body.
    retry_after : float, optional
        The seconds of the answer's `Retry-After` header.

    Returns
    -------
    Problem
        An instance of the named class, or of `Problem` for a name of a later version.
    """
    name = str(document.get("type", "")).removeprefix(_TYPE_PREFIX)
    members = {k: v for k, v in document.items() if k not in {"type", "title", "status", "detail"}}
    kind = _BY_NAME.get(name, Problem)
    problem = kind(str(document.get("detail", "no detail given")), retry_after=retry_after)
    problem.members.update(members)
    return problem


class StartupError(Exception):
    """Why a program cannot start, as one sentence: what, the value seen, what to do."""
