from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from werkzeug.datastructures import Headers
from werkzeug.exceptions import ClientDisconnected

from fedtier.problems import (
    BadRequest,
    DigestMismatch,
    LengthRequired,
    Problem,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from fedtier.serving.intake import BLOCK, BodyHeaders, read_body_headers, receive_body
from fedtier.serving.statedir import StateDirectory
from tests.file_sizes import room_for

BODY = bytes(range(256)) * (BLOCK // 256) * 2 + b"end"
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path)


def nothing() -> None:
    pass


# Headers


@pytest.mark.parametrize("media_type", [None, "application/octet-stream", "Application/Octet-Stream; x=y"])
def test_headers_that_are_good(media_type: str | None) -> None:
    headers = Headers({"Content-Length": "10"})
    if media_type:
        headers["Content-Type"] = media_type
    assert read_body_headers(headers, limit=10) == BodyHeaders(10, None)


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ({"Content-Length": "11"}, TooLarge),
        ({"Content-Length": "9" * 15}, TooLarge),
        ({"Content-Length": "9" * 5000}, BadRequest),
        ({"Content-Length": "-1"}, BadRequest),
        ({"Content-Length": "²"}, BadRequest),
        ({}, LengthRequired),
        ({"Content-Length": "5", "Transfer-Encoding": "chunked"}, LengthRequired),
        ({"Content-Length": "5", "Content-Type": "text/plain"}, UnsupportedMediaType),
        ({"Content-Length": "5", "Content-Digest": "nonsense"}, BadRequest),
    ],
)
def test_headers_that_refuse_a_body(headers: dict[str, str], refusal: type[Problem]) -> None:
    with pytest.raises(refusal):
        read_body_headers(Headers(headers), limit=10)


# Bodies


def test_a_body_lies_complete_in_the_spool(state: StateDirectory) -> None:
    blocks: list[None] = []
    body = receive_body(io.BytesIO(BODY), BodyHeaders(len(BODY), SHA256), state, lambda: blocks.append(None))
    assert (body.path.read_bytes(), body.sha256, body.path.parent) == (BODY, SHA256, state.spool)
    assert len(blocks) == 3


def test_a_body_is_written_over_one_that_is_done_and_shows_nothing_of_it(state: StateDirectory) -> None:
    done = receive_body(io.BytesIO(b"o" * len(BODY)), BodyHeaders(len(BODY), None), state, nothing)
    number = done.path.stat().st_ino
    state.drop(done.path)
    short = BODY[:-BLOCK]
    body = receive_body(io.BytesIO(short), BodyHeaders(len(short), None), state, nothing)
    assert (body.path.stat().st_ino, body.path.read_bytes()) == (number, short)
    assert [path.name for path in state.spool.iterdir()] == [body.name]


def test_a_body_that_comes_in_pieces_lies_complete_in_the_spool(state: StateDirectory) -> None:
    class Trickle(io.BytesIO):
        def readinto(self, buffer: Any, /) -> int:
            return super().readinto(memoryview(buffer)[:1000])

    body = receive_body(Trickle(BODY), BodyHeaders(len(BODY), SHA256), state, nothing)
    assert body.path.read_bytes() == BODY


def test_no_more_is_read_than_was_announced(state: StateDirectory) -> None:
    stream = io.BytesIO(b"12345next")
    assert receive_body(stream, BodyHeaders(5, None), state, nothing).path.read_bytes() == b"12345"
    assert stream.read() == b"next"


class Broken(io.BytesIO):
    """Gives some bytes and then breaks off."""

    def __init__(self, content: bytes, error: Exception) -> None:
        super().__init__(content)
        self.error = error

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        if not count:
            raise self.error
        return count


@pytest.mark.parametrize(
    "stream",
    [
        io.BytesIO(BODY[:-1]),
        io.BytesIO(b""),
        Broken(BODY[:BLOCK], ConnectionResetError()),
        Broken(BODY[:BLOCK], ClientDisconnected()),
    ],
)
def test_a_body_that_breaks_off_leaves_nothing(state: StateDirectory, stream: io.BytesIO) -> None:
    with pytest.raises(BadRequest, match="the body ended after"):
        receive_body(stream, BodyHeaders(len(BODY), None), state, nothing)
    assert list(state.spool.iterdir()) == []
    assert state.unready() is None


def test_a_body_that_comes_too_slowly_is_503_and_leaves_nothing(state: StateDirectory) -> None:
    stream = Broken(BODY[:BLOCK], TimeoutError("no byte for 60 s"))
    with pytest.raises(Unavailable, match="the body came too slowly: no byte for 60 s; send it again"):
        receive_body(stream, BodyHeaders(len(BODY), None), state, nothing)
    assert list(state.spool.iterdir()) == []
    assert state.unready() is None


def test_a_wrong_digest_leaves_nothing(state: StateDirectory) -> None:
    with pytest.raises(DigestMismatch, match=SHA256):
        receive_body(io.BytesIO(BODY), BodyHeaders(len(BODY), "a" * 64), state, nothing)
    assert list(state.spool.iterdir()) == []


def test_a_full_disk_is_503_and_leaves_nothing(state: StateDirectory) -> None:
    with room_for(BLOCK + 1000), pytest.raises(Unavailable, match="disk of the state directory is full"):
        receive_body(io.BytesIO(BODY), BodyHeaders(len(BODY), None), state, nothing)
    assert list(state.spool.iterdir()) == []


def test_a_body_beyond_the_quota_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    state, stream = StateDirectory(tmp_path, spool_max=len(BODY)), io.BytesIO(BODY)
    first = receive_body(io.BytesIO(BODY), BodyHeaders(len(BODY), None), state, nothing)
    with pytest.raises(Unavailable, match="the spool is full"):
        receive_body(stream, BodyHeaders(len(BODY), None), state, nothing)
    assert stream.tell() == 0
    assert state.unready() is None, "it works, and has work to do"
    state.drop(first.path)
    receive_body(stream, BodyHeaders(len(BODY), None), state, nothing)


@pytest.mark.parametrize(
    ("stream", "sha256"), [(io.BytesIO(BODY[:-1]), None), (io.BytesIO(BODY), "a" * 64)], ids=["broken off", "damaged"]
)
def test_a_body_that_fails_gives_its_room_back(tmp_path: Path, stream: io.BytesIO, sha256: str | None) -> None:
    state = StateDirectory(tmp_path, spool_max=len(BODY))
    with pytest.raises((BadRequest, DigestMismatch)):
        receive_body(stream, BodyHeaders(len(BODY), sha256), state, nothing)
    assert state.spool_bytes == 0
