"""A file goes out unread where the kernel can send it, and its end waits for what has to come before."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedtier.bodies import BLOCK, FileBody
from fedtier.upstream import Upstream
from tests.fedtier.test_connections import NO_DIGEST, RECEIPT, read_head, spoken_to

CONTENT = bytes(range(256)) * (5 * BLOCK // 512)
PATH = "/v1/rounds/1/updates/a"


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "body"
    path.write_bytes(CONTENT)
    return path


class Receiver:
    """Takes one body, and keeps what comes of it."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.has = threading.Condition()

    def __call__(self, connection: socket.socket) -> None:
        read_head(connection)
        while len(self.got) < len(CONTENT):
            block = connection.recv(1 << 19)
            with self.has:
                self.got += block
                self.has.notify_all()
            if not block:
                return
        connection.sendall(RECEIPT)

    def wait_for(self, num_bytes: int) -> bool:
        with self.has:
            return self.has.wait_for(lambda: len(self.got) >= num_bytes, 30.0)


def test_the_kernel_sends_a_file_that_is_not_read_for_it(body: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    real: Callable[..., int] = os.sendfile

    def sendfile(*given: Any) -> int:
        sent.append(real(*given))
        return sent[-1]

    monkeypatch.setattr(os, "sendfile", sendfile)
    receiver = Receiver()
    with spoken_to(receiver) as url, Upstream(url) as upstream:
        assert upstream.put_file(PATH, body, sha256=NO_DIGEST) == {}

    assert bytes(receiver.got) == CONTENT
    assert sum(sent) == len(CONTENT)


@pytest.mark.parametrize("first", [errno.EINVAL, errno.EOPNOTSUPP, errno.EAGAIN])
def test_a_file_that_the_kernel_does_not_send_is_sent_all_the_same(
    body: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    answers: list[int] = []
    real: Callable[..., int] = os.sendfile

    def sendfile(*given: Any) -> int:
        answers.append(0)
        if len(answers) == 2:  # in the midst of the body
            raise OSError(first, os.strerror(first))
        return real(*given[:-1], min(given[-1], BLOCK))

    monkeypatch.setattr(os, "sendfile", sendfile)
    receiver = Receiver()
    with spoken_to(receiver) as url, Upstream(url) as upstream:
        assert upstream.put_file(PATH, body, sha256=NO_DIGEST) == {}

    assert bytes(receiver.got) == CONTENT
    assert (len(answers) == 2) == (first != errno.EAGAIN)


def test_the_last_block_waits_for_what_has_to_come_before(body: Path) -> None:
    receiver = Receiver()
    had: list[int] = []

    def before_end() -> None:
        assert receiver.wait_for(len(CONTENT) - BLOCK)
        had.append(len(receiver.got))

    with spoken_to(receiver) as url, Upstream(url) as upstream:
        assert upstream.put_file(PATH, body, sha256=NO_DIGEST, before_end=before_end) == {}

    assert had == [len(CONTENT) - BLOCK]
    assert bytes(receiver.got) == CONTENT


def test_a_body_whose_end_must_not_be_sent_stays_without_it(body: Path) -> None:
    receiver = Receiver()

    def before_end() -> None:
        raise OSError("the disk is gone")

    with spoken_to(receiver) as url, Upstream(url) as upstream, pytest.raises(OSError, match="the disk is gone"):
        upstream.put_file(PATH, body, sha256=NO_DIGEST, before_end=before_end)

    assert len(receiver.got) <= len(CONTENT) - BLOCK


@pytest.mark.parametrize("length", [1, BLOCK, BLOCK + 1, 2 * BLOCK])
def test_a_body_begins_anew_each_time(tmp_path: Path, length: int) -> None:
    path = tmp_path / "body"
    path.write_bytes(CONTENT[:length])
    with path.open("rb") as file:
        body = FileBody(file, length, lambda: None)
        for _ in range(2):
            assert b"".join(block for part in body for block in part) == CONTENT[:length]


def test_a_file_that_was_cut_short_is_told_from_one_that_ended(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(CONTENT[:1000])
    with path.open("rb") as file, pytest.raises(ConnectionAbortedError, match="ended before"):
        [block for part in FileBody(file, 1001) for block in part]
