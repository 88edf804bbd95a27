"""Every operation of an aggregator's HTTP interface, as data: `fedtier.serving.openapi` makes the document of it.

An operation lists the problems that it can answer with; what else an answer holds stands in `fedtier.serving.schemas`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from fedtier.problems import (
    AlreadyCounted,
    AttemptOver,
    BadRequest,
    DigestMismatch,
    DuplicateContributors,
    Forbidden,
    LengthRequired,
    MethodNotAllowed,
    NotFinite,
    NotFound,
    NotSafetensors,
    NotSelected,
    OutOfRange,
    Problem,
    RangeNotSatisfiable,
    RoundNotOpen,
    RoundOver,
    SchemaMismatch,
    SlowDown,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    WeightLimit,
)
from fedtier.tokens import ROLES, Role


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answers with where nothing is wrong.

    Parameters
    ----------
    description : str
    media_type : str or None
        None where there is no body.
    schema : str or None
        Name of the body's schema; None is bytes or text of no further form.
    headers : tuple of str
        Names of headers that are always sent.
    links : tuple of str
        Names of what may be asked next.
    """

    description: str
    media_type: str | None = "application/json"
    schema: str | None = None
    headers: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Parameters
    ----------
    method : str
        In lower case.
    path : str
    name : str
        Unique; generated clients call their functions after it.
    summary, description : str
    tag : str
        Whom it is for.
    roles : tuple of str or None
        Whose tokens may; None takes anyone, without a token.
    parameters : tuple of str
        Names of path and header parameters.
    body : str or None
        Name of the request's body.
    answers : Mapping of int to Answer
    problems : tuple of type[Problem]
        Without those that every operation has.
    """

    method: Literal["get", "put", "post"]
    path: str
    name: str
    tag: Literal["rounds", "uploads", "operator", "health"]
    summary: str
    answers: Mapping[int, Answer]
    description: str = ""
    roles: tuple[Role, ...] | None = ROLES
    parameters: tuple[str, ...] = ()
    body: str | None = None
    problems: tuple[type[Problem], ...] = field(default=())

    @property
    def all_problems(self) -> tuple[type[Problem], ...]:
        """The problems it can answer with, by status."""
        found: set[type[Problem]] = {MethodNotAllowed, *self.problems}
        if self.roles is not None:
            found |= {Unauthenticated, Forbidden, SlowDown}  # a certificate may be for somebody else, whatever is asked
        if "{" in self.path:
            found |= {BadRequest, NotFound}  # an id that is malformed, or holds a slash and makes another path
        return tuple(sorted(found, key=lambda problem: (problem.status, problem.name)))


_CLOSED: Final = (RoundOver, RoundNotOpen)
_UPLOAD: Final = (
    *(*_CLOSED, NotSelected, WeightLimit),
    *(LengthRequired, TooLarge, UnsupportedMediaType),
    *(NotSafetensors, SchemaMismatch, DigestMismatch, OutOfRange),
    Unavailable,
)
_ROUND_STATUS: Final = Answer("The round after this.", schema="RoundStatus")

SHARED: Final = (
    Operation(
        "get",
        "/v1/round",
        "getRound",
        "rounds",
        "The open round: its plan, and how far it is",
        {
            200: Answer(
                "The round.", schema="RoundStatus", headers=("ETag",), links=("GetBaseModel", "GetBaseManifest")
            ),
            304: Answer("The asker has it.", None, headers=("ETag",)),
        },
        "Clients ask again after `poll_after` seconds, with some jitter. On a worker `counted` may lag.",
        parameters=("IfNoneMatch", "FedtierRefused"),
        problems=(Unavailable,),
    ),
    Operation(
        "get",
        "/v1/rounds/{round}/model",
        "getModel",
        "rounds",
        "The model of a published round",
        {
            200: Answer(
                "The whole file.",
                "application/octet-stream",
                headers=("ETag", "Repr-Digest", "Content-Digest", "Accept-Ranges", "Cache-Control"),
            ),
            206: Answer(
                "The bytes that were asked for.",
                "application/octet-stream",
                headers=("ETag", "Repr-Digest", "Content-Range", "Accept-Ranges", "Cache-Control"),
            ),
            304: Answer("The asker has it.", None, headers=("ETag", "Repr-Digest", "Cache-Control")),
            307: Answer(
                "The file lies at another address, good for an hour: of a master with `--model-delivery redirect`.",
                None,
                headers=("Location",),
            ),
        },
        "A safetensors file: the tensors in the order, dtypes and shapes of `schema`.",
        parameters=("Round", "IfNoneMatch", "Range"),
        problems=(RangeNotSatisfiable, Unavailable),
    ),
    Operation(
        "get",
        "/v1/rounds/{round}/manifest",
        "getManifest",
        "rounds",
        "What was published for a round: its plan, who is in it, and the model's digest",
        {200: Answer("The manifest.", schema="Manifest", headers=("Repr-Digest", "Content-Digest"))},
        parameters=("Round",),
        problems=(Unavailable,),
    ),
    Operation(
        "put",
        "/v1/rounds/{round}/updates/{client_id}",
        "putUpdate",
        "uploads",
        "Send a client's update",
        {
            200: Answer(
                "The master has it, durably. Of a client that is counted already, `sha256` is its first update's.",
                schema="UpdateReceipt",
            )
        },
        "A client sends as itself: its token's subject is `client_id`. To send again is safe: a client counts once.",
        roles=("client",),
        parameters=("Round", "ClientId", "ContentDigest"),
        body="Update",
        problems=(*_UPLOAD, NotFinite),
    ),
    Operation(
        "put",
        "/v1/rounds/{round}/partials/{batch_id}",
        "putPartial",
        "uploads",
        "Send a worker's partial: the exact sum of some clients' updates",
        {200: Answer("The master has all of it, durably.", schema="PartialReceipt")},
        "A partial is counted whole, or refused with `already-counted`, which lists whom to leave out.",
        roles=("worker",),
        parameters=("Round", "BatchId", "ContentDigest"),
        body="Partial",
        problems=(*_UPLOAD, AttemptOver, AlreadyCounted, DuplicateContributors),
    ),
    Operation(
        "get",
        "/v1/openapi.json",
        "getOpenApi",
        "rounds",
        "This document",
        {200: Answer("An OpenAPI 3.1 document.", schema="OpenApi")},
    ),
    Operation(
        "get",
        "/metrics",
        "getMetrics",
        "operator",
        "Prometheus metrics",
        {200: Answer("The metrics in Prometheus' text format.", "text/plain")},
        roles=("operator",),
    ),
    Operation(
        "get",
        "/healthz",
        "getHealth",
        "health",
        "Whether the process lives",
        {200: Answer("It does.", schema="Alive")},
        roles=None,
    ),
    Operation(
        "get",
        "/readyz",
        "getReadiness",
        "health",
        "Whether it can take work",
        {200: Answer("It can.", schema="Ready")},
        roles=None,
        problems=(Unavailable,),
    ),
)
"""What workers and the master have."""

OPERATOR: Final = (
    Operation(
        "post",
        "/v1/rounds/{round}/close",
        "closeRound",
        "operator",
        "Close the open round with what is counted, as at its deadline",
        {200: _ROUND_STATUS},
        roles=("operator",),
        parameters=("Round",),
        problems=(*_CLOSED, Unavailable),
    ),
    Operation(
        "post",
        "/v1/pause",
        "pause",
        "operator",
        "Take no uploads until `resume`, beyond a restart too",
        {200: _ROUND_STATUS},
        roles=("operator",),
        problems=(Unavailable,),
    ),
    Operation(
        "post",
        "/v1/resume",
        "resume",
        "operator",
        "Take uploads again",
        {200: _ROUND_STATUS},
        roles=("operator",),
        problems=(Unavailable,),
    ),
)
"""What the master has besides."""
