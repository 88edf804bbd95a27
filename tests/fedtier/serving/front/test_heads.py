"""A request's head is complete when gunicorn's parser needs no more, however it was cut into blocks."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest
from gunicorn.config import Config
from gunicorn.http import RequestParser
from gunicorn.http.errors import ParseException
from hypothesis import given
from hypothesis import strategies as st

from fedtier.serving.front.heads import Head

REQUEST = b"PUT /v1/rounds/1/updates/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
LIMIT = 1 << 14


def collected(blocks: list[bytes]) -> Head:
    head = Head(LIMIT)
    for block in blocks:
        head.add(block)
    return head


@given(st.sets(st.integers(1, len(REQUEST) - 1)))
def test_a_head_is_complete_however_it_is_cut(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(REQUEST)]
    blocks = [REQUEST[a:b] for a, b in itertools.pairwise(edges)]
    head = collected(blocks)
    assert head.is_complete
    assert head.take() == REQUEST
    assert not head.is_begun


@pytest.mark.parametrize("end", range(1, len(REQUEST) - len("hello")))
def test_a_head_without_its_end_is_not_complete(end: int) -> None:
    assert not collected([REQUEST[:end]]).is_complete


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"GET / HTTP/1.1", b"A: b", b":", b" "]), max_size=12))
def test_the_parser_never_asks_for_more_than_a_complete_head(blocks: list[bytes]) -> None:
    """What it asks for would be waited for, in a thread."""
    head = collected(blocks)
    if not head.is_complete:
        return

    def more() -> Iterator[bytes]:
        yield head.take()
        raise AssertionError("the parser wants more")

    config = Config()
    config.set("http_parser", "python")
    with contextlib.suppress(ParseException, StopIteration):
        next(RequestParser(config, more(), ("127.0.0.1", 1)))


def test_a_head_over_the_limit_is_too_large_and_never_complete() -> None:
    head = Head(100)
    head.add(b"GET / HTTP/1.1\r\nA: " + b"a" * 80)
    assert not head.is_too_large
    head.add(b"a" * 20 + b"\r\n\r\n")
    assert head.is_too_large
    assert not head.is_complete


def test_a_body_that_came_along_does_not_make_a_head_too_large() -> None:
    head = Head(100)
    head.add(b"PUT / HTTP/1.1\r\n\r\n" + bytes(1000))
    assert head.is_complete
