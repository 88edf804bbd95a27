"""A crowd asks what it is told to, over kept connections, and takes no answer for another's."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.load import Crowd
from benchmarks.load_connection import Answer, Body, Wanted

LARGE = 3_000_000


class Counting(BaseHTTPRequestHandler):
    """Answers with the digest of what came; notes over which connection, and how many bodies came at once."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_PUT(self) -> None:
        with self.server.counting():
            digest = hashlib.sha256(self.rfile.read(int(self.headers["Content-Length"]))).hexdigest()
        self.answer(f"{self.path} {digest}".encode())

    def do_GET(self) -> None:
        if self.path == "/large":
            self.answer(bytes(LARGE))
        elif self.path == "/last":
            self.answer(b"last")
            self.close_connection = True
        else:
            self.answer(self.path.encode())

    def answer(self, body: bytes) -> None:
        self.server.connections.add(self.client_address)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"tag"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        pass


class Server(ThreadingHTTPServer):
    """Counts connections and what is under way."""

    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Counting)
        self.connections: set[object] = set()
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    @contextmanager
    def counting(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        yield
        with self._lock:
            self._now -= 1


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def crowd(server: Server, connections: int) -> Crowd:
    return Crowd("127.0.0.1", server.server_address[1], connections)


def get(client: int, path: str, *, at: float = 0.0) -> Wanted:
    return Wanted(client, f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode(), at=at)


def put(client: int, body: Body) -> Wanted:
    head = f"PUT /{client} HTTP/1.1\r\nHost: here\r\nContent-Length: {body.size}\r\n\r\n"
    return Wanted(client, head.encode(), body)


def test_each_client_gets_the_answer_to_its_own_request(server: Server, tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    path = tmp_path / "body"
    path.write_bytes(data)
    answers: list[Answer] = []
    with path.open("rb") as file, crowd(server, 20) as clients:
        clients.run([put(client, Body(file, len(data))) for client in range(20)], answers.append, concurrent=5)
    digest = hashlib.sha256(data).hexdigest()
    assert {(a.wanted.client, a.status, a.body) for a in answers} == {
        (client, 200, f"/{client} {digest}".encode()) for client in range(20)
    }
    assert len(server.connections) == 20
    assert 1 <= server.most <= 5
    assert all(answer.began < answer.ended for answer in answers)


def test_clients_share_connections_where_there_are_fewer(server: Server) -> None:
    answers: list[Answer] = []
    with crowd(server, 3) as clients:
        clients.run([get(client, f"/{client}") for client in range(30)], answers.append, concurrent=30)
    assert sorted(answer.body for answer in answers) == sorted(f"/{client}".encode() for client in range(30))
    assert len(server.connections) == 3


def test_of_a_large_answer_the_length_is_kept(server: Server) -> None:
    answers: list[Answer] = []
    with crowd(server, 1) as clients:
        clients.run([get(0, "/large")], answers.append, concurrent=1)
    assert answers[0].size == LARGE
    assert len(answers[0].body) < LARGE
    assert (answers[0].header("etag"), answers[0].header("X-Other")) == ('"tag"', None)


def test_what_is_seen_may_be_followed_by_more_at_its_time(server: Server) -> None:
    answers: list[Answer] = []
    later = time.monotonic() + 0.2

    def see(answer: Answer) -> Wanted | None:
        answers.append(answer)
        return get(0, "/second", at=later) if len(answers) == 1 else None

    with crowd(server, 1) as clients:
        clients.run([get(0, "/first")], see, concurrent=1)
    assert [answer.body for answer in answers] == [b"/first", b"/second"]
    assert answers[1].began >= later
    assert len(server.connections) == 1


def test_a_connection_that_the_server_closed_is_made_again(server: Server) -> None:
    answers: list[Answer] = []
    with crowd(server, 1) as clients:
        for path in ("/last", "/again"):
            clients.run([get(0, path)], answers.append, concurrent=1)
    assert [answer.body for answer in answers] == [b"last", b"/again"]
    assert len(server.connections) == 2


def test_a_refusal_before_the_body_ends_is_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(bytes(50_000_000))
    answers: list[Answer] = []
    with path.open("rb") as file, socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
                answered.wait()

        answered = threading.Event()
        thread = threading.Thread(target=refuse)
        thread.start()
        with Crowd("127.0.0.1", listener.getsockname()[1], 1) as clients:
            clients.run([put(0, Body(file, 50_000_000))], answers.append, concurrent=1)
        answered.set()
        thread.join()
    assert [(answer.status, answer.body) for answer in answers] == [(413, b"no")]


def test_nobody_listens_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Crowd("127.0.0.1", port, 1) as clients, pytest.raises(ConnectionError):
        clients.run([get(0, "/")], lambda _: None, concurrent=1)
