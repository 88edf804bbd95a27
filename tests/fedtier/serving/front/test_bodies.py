from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from gunicorn.http.body import Body, EOFReader, LengthReader

from fedtier.serving.front.bodies import SizedBody, sized
from fedtier.serving.front.flows import Inflow, TooSlow
from fedtier.serving.front.limits import Limits


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def waiting_inflow(sock: socket.socket) -> Inflow:
    inflow = Inflow(sock, Limits(min_rate=0, silence=0.05))
    inflow.wait(patiently=True)
    return inflow


def read_whole(body: SizedBody, most: int) -> bytes:
    content, buffer = b"", memoryview(bytearray(most))
    while count := body.readinto(buffer):
        content += bytes(buffer[:count])
    return content


def test_a_body_ends_where_the_next_request_begins(pair: Pair) -> None:
    inflow = waiting_inflow(pair[0])
    pair[1].sendall(b"bodyGET / HTTP/1.1")
    assert read_whole(SizedBody(inflow, 4), 100) == b"body"
    inflow.wait(patiently=False)
    assert inflow.read(14) == b"GET / HTTP/1.1"


@pytest.mark.parametrize("most", [1, 3, 100])
def test_what_came_with_the_head_comes_first(pair: Pair, most: int) -> None:
    inflow = waiting_inflow(pair[0])
    inflow.unread(b"read ahead, ")
    pair[1].sendall(b"and the rest, and the next")
    assert read_whole(SizedBody(inflow, 24), most) == b"read ahead, and the rest"


def test_a_body_may_be_read_in_both_ways(pair: Pair) -> None:
    body = SizedBody(waiting_inflow(pair[0]), 10)
    pair[1].sendall(b"0123456789")
    buffer = memoryview(bytearray(4))
    assert body.readinto(buffer) == 4
    assert body.read(100) == b"456789"
    assert body.readinto(buffer) == 0


def test_a_body_that_breaks_off_ends(pair: Pair) -> None:
    body = SizedBody(waiting_inflow(pair[0]), 10)
    pair[1].sendall(b"half")
    pair[1].shutdown(socket.SHUT_WR)
    assert read_whole(body, 100) == b"half"


def test_after_a_body_that_is_given_up_no_request_is_looked_for(pair: Pair) -> None:
    inflow = waiting_inflow(pair[0])
    body = SizedBody(inflow, 10)
    with pytest.raises(TooSlow):
        body.readinto(memoryview(bytearray(4)))
    assert body.failed
    assert inflow.too_slow is not None


def test_a_body_of_unknown_length_stays_as_it_is(pair: Pair) -> None:
    inflow = waiting_inflow(pair[0])
    body = Body(EOFReader(inflow))
    assert sized(body, inflow) is body
    assert isinstance(sized(Body(LengthReader(inflow, 4)), inflow), SizedBody)
