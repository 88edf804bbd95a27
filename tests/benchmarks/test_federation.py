from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from benchmarks.federation import HeadWatch


class Forgetful(BaseHTTPRequestHandler):
    """Closes each connection after one answer, without having said so."""

    protocol_version = "HTTP/1.1"
    server: Store

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = b'{"round": 3}'
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        pass


class Store(HTTPServer):
    """Notes what it was asked for."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Forgetful)
        self.status = status
        self.asked: list[str] = []


@contextmanager
def serving(status: int) -> Iterator[Store]:
    with Store(status) as store:
        thread = threading.Thread(target=store.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()


def watch(store: Store) -> HeadWatch:
    return HeadWatch(f"http://127.0.0.1:{store.server_address[1]}/bucket/head.json?signature=1")


def test_a_look_over_a_connection_that_was_closed_meanwhile_is_taken_anew() -> None:
    with serving(200) as store:
        head = watch(store)
        assert [head.newest_round() for _ in range(3)] == [3, 3, 3]
    assert store.asked == ["/bucket/head.json?signature=1"] * 3


def test_a_refused_look_is_an_error() -> None:
    with serving(403) as store, pytest.raises(ConnectionError, match="S3 answers 403"):
        watch(store).newest_round()
