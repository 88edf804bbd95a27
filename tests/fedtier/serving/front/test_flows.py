"""Bytes over real sockets, with a peer that is slow, silent or gone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtier.serving.front.flows import Inflow, Outflow, TooSlow, send_now
from fedtier.serving.front.limits import Limits

SHORT = Limits(rate_seconds=0.05, min_rate=1 << 20, flush_bytes=1000)
LONG = Limits(rate_seconds=3600.0, flush_bytes=1000)
MORE_THAN_BUFFERS = 16 << 20


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(30)
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def received(sock: socket.socket) -> Iterator[bytes]:
    while block := sock.recv(1 << 16):
        yield block


def test_a_body_is_waited_for(pair: Pair) -> None:
    inflow = Inflow(pair[0], LONG)
    inflow.wait(patiently=True)

    def send() -> None:
        for _ in range(100):
            pair[1].sendall(bytes(1000))

    sender = threading.Thread(target=send)
    sender.start()
    assert len(inflow.read(100_000)) == 100_000
    sender.join()


def test_a_body_that_does_not_come_is_given_up(pair: Pair) -> None:
    inflow = Inflow(pair[0], SHORT)
    inflow.wait(patiently=True)
    pair[1].sendall(bytes(10))
    with pytest.raises(TooSlow, match="slower than 1048576 bytes per second"):
        inflow.read(100)


def test_without_a_least_rate_silence_ends_a_body(pair: Pair) -> None:
    inflow = Inflow(pair[0], Limits(min_rate=0, silence=0.05))
    inflow.wait(patiently=True)
    with pytest.raises(TooSlow, match=r"no byte for 0\.05 s"):
        inflow.read(100)


def test_what_is_there_is_taken_without_waiting(pair: Pair) -> None:
    inflow = Inflow(pair[0], LONG)
    pair[1].sendall(b"12345")
    assert inflow.read(5) == b"12345"
    with pytest.raises(BlockingIOError):
        inflow.read(1)


def test_no_thread_waits_for_the_end_of_an_answer(pair: Pair) -> None:
    outflow = Outflow(pair[0], Limits(rate_seconds=3600.0, flush_bytes=MORE_THAN_BUFFERS))
    answer = bytes(MORE_THAN_BUFFERS)
    outflow.sendall(answer)
    assert 0 < len(outflow.unsent) < len(answer)
    reader = threading.Thread(target=lambda: [None for _ in received(pair[1])])
    reader.start()
    while send_now(pair[0], outflow.unsent):
        pass
    pair[0].shutdown(socket.SHUT_WR)
    reader.join()
    assert not outflow.unsent


def test_all_but_the_end_of_an_answer_is_waited_for(pair: Pair) -> None:
    outflow = Outflow(pair[0], LONG)
    answer = bytes(range(256)) * (MORE_THAN_BUFFERS // 256)
    blocks: list[bytes] = []
    reader = threading.Thread(target=lambda: blocks.extend(received(pair[1])))
    reader.start()
    outflow.sendall(answer)
    assert len(outflow.unsent) <= LONG.flush_bytes
    while send_now(pair[0], outflow.unsent):
        pass
    pair[0].shutdown(socket.SHUT_WR)
    reader.join()
    assert b"".join(blocks) == answer


def test_the_head_and_the_body_of_a_small_answer_are_sent_at_once() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps apart what was sent apart
    with ours, theirs:
        ours.setblocking(False)
        outflow = Outflow(ours, Limits())
        outflow.send(b"continue, ")
        assert theirs.recv(100) == b"continue, "
        outflow.sendall(b"head, ")
        outflow.sendall(b"body")
        outflow.flush()
        assert theirs.recv(100) == b"head, body"
        assert not outflow.unsent


def test_an_answer_that_is_not_read_is_given_up(pair: Pair) -> None:
    with pytest.raises(TooSlow):
        Outflow(pair[0], SHORT).sendall(bytes(MORE_THAN_BUFFERS))


def test_a_file_that_is_not_read_is_given_up(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(bytes(MORE_THAN_BUFFERS))
    with path.open("rb") as file, pytest.raises(TooSlow):
        Outflow(pair[0], SHORT).sendfile(file, 0, MORE_THAN_BUFFERS)


def test_a_part_of_a_file_is_sent_after_what_was_sent_before(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(bytes(range(256)) * 1024)
    outflow = Outflow(pair[0], LONG)
    blocks: list[bytes] = []
    reader = threading.Thread(target=lambda: blocks.extend(received(pair[1])))
    reader.start()
    outflow.sendall(b"head")
    with path.open("rb") as file:
        outflow.sendfile(file, 3, 100_000)
    pair[0].shutdown(socket.SHUT_WR)
    reader.join()
    assert b"".join(blocks) == b"head" + path.read_bytes()[3:100_003]


def test_a_file_that_ends_early_breaks_its_answer_off(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"short")
    with path.open("rb") as file, pytest.raises(ConnectionAbortedError):
        Outflow(pair[0], LONG).sendfile(file, 0, 100)
