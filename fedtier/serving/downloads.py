"""Models on their way out: from a file, with ranges and digests, or by a redirect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flask import Response, send_file
from werkzeug.wrappers import Response as BaseResponse

from fedtier.problems import Unavailable
from fedtier.serving.intake import TransferSlots
from fedtier.upstream import content_digest

_OPEN_TRIES: Final = 3
_YEAR: Final = 31_536_000


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model to be sent from a file."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelElsewhere:
    """A model to be fetched from another address, good for a short time, by anyone who knows it."""

    url: str = field(repr=False)


class Downloads:
    """Sends models, never more at once than there are slots.

    Parameters
    ----------
    find : callable
        Returns the model of a published round.
    slots : TransferSlots
        Shared with the uploads.
    """

    def __init__(self, find: Callable[[int], ModelFile | ModelElsewhere], slots: TransferSlots) -> None:
        self._find = find
        self._slots = slots

    def model(self, round_number: int) -> BaseResponse:
        """Return a round's model; its slot is free again once it was sent.

        Raises
        ------
        Unavailable
            All slots are taken.
        Problem
            There is no such model, or it cannot be had now.
        """
        release = self._slots.hold()
        try:
            response = self._answer(round_number)
        except BaseException:
            release()
            raise
        _free_when_closed(response, release)
        return response

    def _answer(self, round_number: int) -> BaseResponse:
        for _ in range(_OPEN_TRIES):
            model = self._find(round_number)
            if isinstance(model, ModelElsewhere):
                return Response(status=307, headers={"Location": model.url})  # a text would repeat it
            try:
                return _send(model)
            except FileNotFoundError:
                continue  # let go of between finding and opening, for newer ones
        raise Unavailable("the model was let go of while it was asked for; ask again", retry_after=1)


def _send(model: ModelFile) -> BaseResponse:
    response = send_file(
        model.path, mimetype="application/octet-stream", etag=model.sha256, conditional=True, max_age=_YEAR
    )
    response.cache_control.public = False
    response.cache_control.private = True  # a cache between must not hand it to whoever has no token
    digest = content_digest(model.sha256)
    response.headers["Repr-Digest"] = digest
    if response.status_code == 200:
        response.headers["Content-Digest"] = digest
    return response


def _free_when_closed(response: BaseResponse, release: Callable[[], None]) -> None:
    """Release a slot when the server closes the body; the body of a file goes to the server without its response."""
    body: Any = response.response
    if isinstance(body, list):  # short, and sent by the time the response is closed
        response.call_on_close(release)
        return
    close = body.close

    def close_and_release() -> None:
        body.close = close
        try:
            close()
        finally:
            release()

    body.close = close_and_release
