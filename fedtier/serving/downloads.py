"""Models and other large answers on their way out: never more at once than there are slots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flask import Response, send_file
from werkzeug.wrappers import Response as BaseResponse

from fedtier.problems import Unavailable
from fedtier.serving.shares import TransferSlots
from fedtier.upstream import content_digest

SMALL_ANSWER: Final = 64 << 10
"""Bytes up to which an answer needs no slot, however slowly it is read; so large is the plan of some 600 tensors."""
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
    """Sends what may take a slow reader long, never more at once than there are slots.

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

    def model(self, round_number: int, client: str | None = None) -> BaseResponse:
        """Return a round's model.

        Parameters
        ----------
        round_number : int
        client : str or None
            Whose share of the slots it takes.

        Raises
        ------
        SlowDown, Unavailable
            There is no slot.
        Problem
            There is no such model, or it cannot be had now.
        """
        return self.document(lambda: self._answer(round_number), client)

    def document(self, make: Callable[[], BaseResponse], client: str | None = None) -> BaseResponse:
        """Return an answer that takes long to make or to send; its slot is free again once it was sent.

        Raises
        ------
        SlowDown, Unavailable
            There is no slot.
        Problem
            As `make` does.
        """
        release = self._slots.hold(client)
        try:
            response = make()
        except BaseException:
            release()
            raise
        _free_when_closed(response, release)
        return response

    def small(self, response: BaseResponse, client: str | None = None) -> BaseResponse:
        """Return an answer that is made already and small as a rule: with a slot only where it is not.

        Raises
        ------
        SlowDown, Unavailable
            It is large, and there is no slot.
        """
        if response.status_code == 304 or (response.content_length or 0) <= SMALL_ANSWER:
            return response
        return self.document(lambda: response, client)

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
