"""TLS in steps, over a real socket, with a client that does not block either."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import trustme

from fedtier.serving.front.secure import RECORD, SecureSocket

MORE_THAN_BUFFERS = 16 << 20
MOST_OF_ITS_OWN = 4 * RECORD
Pair = tuple[SecureSocket, ssl.SSLSocket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A server's end and a client's, between which the handshake is done."""
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("server.example").configure_cert(ours)
    authority.configure_trust(theirs)
    with ExitStack() as stack:
        near, far = (stack.enter_context(sock) for sock in socket.socketpair())
        near.setblocking(False)
        server = SecureSocket(near, ours, most_of_its_own=MOST_OF_ITS_OWN)
        far.setblocking(False)
        client = theirs.wrap_socket(far, server_hostname="server.example", do_handshake_on_connect=False)
        stack.enter_context(client)
        steps: list[Callable[[], None]] = [client.do_handshake, server.do_handshake]
        while steps:
            steps = [step for step in steps if not done(step)]
        yield server, client


def done(step: Callable[[], None]) -> bool:
    try:
        step()
    except ssl.SSLWantReadError:
        return False
    return True


def test_bytes_go_both_ways(pair: Pair) -> None:
    server, client = pair
    client.send(b"question")
    assert server.recv(100) == b"question"
    with pytest.raises(ssl.SSLWantReadError):
        server.recv(100)
    assert server.send(b"answer") == 6
    assert client.recv(100) == b"answer"


def test_bytes_are_read_into_a_buffer(pair: Pair) -> None:
    server, client = pair
    client.send(b"question")
    buffer = bytearray(5)
    with memoryview(buffer) as view, pytest.raises(ssl.SSLWantReadError):
        server.recv_into(view)  # of the socket no more is taken than there is room for
    buffer = bytearray(1000)
    with memoryview(buffer) as view:
        assert server.recv_into(view) == 8
        assert buffer[:8] == b"question"
        client.shutdown(socket.SHUT_WR)
        assert server.recv_into(view) == 0


def test_what_was_taken_and_not_returned_is_pending(pair: Pair) -> None:
    server, client = pair
    client.send(b"first")
    client.send(b"second")
    assert server.recv(1000) == b"first"
    assert server.pending() > 0
    assert server.recv(1000) == b"second"
    assert server.pending() == 0


def test_no_more_is_taken_off_the_socket_than_was_asked_for(pair: Pair) -> None:
    server, client = pair
    client.send(bytes(1000))
    with pytest.raises(ssl.SSLWantReadError):
        server.recv(500)
    assert server.pending() == 0
    assert server.recv(2000) == bytes(1000)


def test_many_bytes_after_a_part_of_a_record_are_taken(pair: Pair) -> None:
    server, client = pair
    for _ in range(6):
        assert client.send(bytes(RECORD)) == RECORD
    with pytest.raises(ssl.SSLWantReadError):
        server.recv(RECORD - 1)
    assert server.recv(MOST_OF_ITS_OWN) == bytes(RECORD)


def test_what_finds_no_room_is_sent_again_and_comes_once(pair: Pair) -> None:
    server, client = pair
    content = bytes(range(256)) * (MORE_THAN_BUFFERS // 256)
    sent, came = 0, b""
    while sent < len(content):
        try:
            number = server.send(content[sent : sent + 2 * RECORD])
        except ssl.SSLWantWriteError:
            came += client.recv(1 << 20)
        else:
            assert 0 < number <= RECORD
            sent += number
    while len(came) < len(content):
        came += client.recv(1 << 20)
    assert came == content


def test_the_end_is_no_byte(pair: Pair) -> None:
    server, client = pair
    client.send(b"last")
    client.shutdown(socket.SHUT_WR)
    assert [server.recv(100), server.recv(100), server.recv(100)] == [b"last", b"", b""]


def test_the_other_end_is_told_of_the_end(pair: Pair) -> None:
    server, client = pair
    server.send(b"last")
    server.end()
    assert [client.recv(100), client.recv(100)] == [b"last", b""]
