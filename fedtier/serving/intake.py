"""Bodies on their way in: refused by their headers where that is enough, else streamed to disk and hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from werkzeug.datastructures import Headers
from werkzeug.exceptions import ClientDisconnected

from fedtier.entries import Received
from fedtier.overwriting import overwritten
from fedtier.problems import (
    BadRequest,
    DigestMismatch,
    LengthRequired,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from fedtier.serving.digests import parse_content_digest
from fedtier.serving.statedir import StateDirectory

BLOCK: Final = 1 << 18
"""Bytes that are hashed and written at once, small enough to stay in a core's cache from the socket to the disk."""
_DIGITS: Final = 15


class ByteSource(Protocol):
    """What a body is read from."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Read some bytes into a buffer and return how many; 0 at the end."""
        ...


@dataclass(frozen=True, slots=True)
class BodyHeaders:
    """What the headers say of a body.

    Parameters
    ----------
    length : int
        Bytes that will come.
    sha256 : str or None
        In hex, when the sender gave a `Content-Digest`.
    """

    length: int
    sha256: str | None


def read_body_headers(headers: Headers, *, limit: int) -> BodyHeaders:
    """Check a body's headers.

    Parameters
    ----------
    headers : Headers
        Of the request.
    limit : int
        The most bytes the body may have.

    Raises
    ------
    LengthRequired, TooLarge, UnsupportedMediaType, BadRequest
    """
    media_type = headers.get("Content-Type", "application/octet-stream").partition(";")[0].strip().lower()
    if media_type != "application/octet-stream":
        raise UnsupportedMediaType(f"Content-Type is {media_type[:80]!r}; send application/octet-stream")
    length = headers.get("Content-Length", "")
    if "Transfer-Encoding" in headers or not length:
        raise LengthRequired("send Content-Length; a body of unknown length is not taken")
    if not (length.isascii() and length.isdigit()) or len(length) > _DIGITS:
        raise BadRequest(f"Content-Length is {length[:40]!r}, not a number of bytes")
    if int(length) > limit:
        raise TooLarge(f"the body has {int(length)} bytes; this round takes at most {limit}", limit=limit)
    return BodyHeaders(int(length), parse_content_digest(headers.get("Content-Digest")))


def receive_body(
    stream: ByteSource, expected: BodyHeaders, state: StateDirectory, on_bytes: Callable[[], None]
) -> Received:
    """Stream a body into a spool file.

    Parameters
    ----------
    stream : ByteSource
        Ends after `expected.length` bytes.
    expected : BodyHeaders
    state : StateDirectory
    on_bytes : callable
        Called whenever some came.

    Returns
    -------
    Received
        The caller deletes its file.

    Raises
    ------
    BadRequest
        The body ended early.
    DigestMismatch
    Unavailable
        The spool may not take so much, which is said before anything is read; or the disk is full, or the body came
        too slowly.
    """
    with state.admitted_file(expected.length) as path:
        sha256 = _copy(stream, path, expected.length, state, on_bytes)
        if expected.sha256 is not None and expected.sha256 != sha256:
            raise DigestMismatch(f"the body's SHA-256 is {sha256}, but Content-Digest says {expected.sha256}")
    return Received(path.name, path, sha256)


def _copy(stream: ByteSource, path: Path, length: int, state: StateDirectory, on_bytes: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    missing = length
    buffer = memoryview(bytearray(min(BLOCK, length)))
    with _writes(state, length), overwritten(path, buffering=0) as file:
        while missing:
            block = buffer[: min(len(buffer), missing)]
            filled = _fill(stream, block, on_bytes)
            missing -= filled
            if filled < len(block):
                raise BadRequest(f"the body ended after {length - missing} of {length} bytes")
            digest.update(block)
            _write(file, block, state)
    return digest.hexdigest()


def _write(file: BinaryIO, block: memoryview, state: StateDirectory) -> None:
    """Write a block, giving up spare files for it on a full disk."""
    while block:
        try:
            block = block[file.write(block) :]
        except OSError as error:
            if not state.make_room(error):
                raise


@contextmanager
def _writes(state: StateDirectory, length: int) -> Iterator[None]:
    """Turn a failed write into the answer for it; reads of the stream raise no OSError (`_read`)."""
    try:
        yield
    except OSError as error:
        raise state.refuse(error, wanted=length) from error


def _fill(stream: ByteSource, block: memoryview, on_bytes: Callable[[], None]) -> int:
    """Read until a block is full, or no more comes; return how many bytes came."""
    filled = 0
    while filled < len(block):
        count = _read(stream, block[filled:])
        if not count:
            break
        filled += count
        on_bytes()
    return filled


def _read(stream: ByteSource, buffer: memoryview) -> int:
    try:
        return stream.readinto(buffer)
    except TimeoutError as error:
        raise Unavailable(
            f"the body came too slowly: {error}; send it again over a faster way", retry_after=5
        ) from None
    except (ClientDisconnected, OSError):
        return 0
