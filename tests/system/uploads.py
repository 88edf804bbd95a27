"""An upload that is sent once, and what an aggregator says while it cannot take any."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator

import requests

from tests.system.federation import PATIENCE, Aggregator
from tests.system.updates import Update


def put(aggregator: Aggregator, update: Update, round_number: int = 1) -> requests.Response:
    """Send an update, and return whatever is answered."""
    path = f"/v1/rounds/{round_number}/updates/{update.client_id}"
    return requests.put(aggregator.url + path, data=update.path.read_bytes(), timeout=PATIENCE)


def put_all(aggregator: Aggregator, updates: Iterable[Update], round_number: int = 1) -> None:
    """Have updates counted, one after the other."""
    for update in updates:
        answer = put(aggregator, update, round_number)
        assert answer.status_code == 200, answer.text


def assert_unavailable(answer: requests.Response, reason: str) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:fedtier:problem:unavailable"
    assert reason in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) >= 1


def assert_unready(aggregator: Aggregator, reason: str) -> None:
    """Check that it says why it cannot work, as soon as it knows, and that it lives."""
    aggregator.process.wait_until(lambda: reason in aggregator.get("/readyz").text, f"{aggregator.name} is not ready")
    assert_unavailable(aggregator.get("/readyz"), reason)
    assert aggregator.get("/healthz").status_code == 200


def answer_to_the_rest(connection: socket.socket, update: Update) -> bytes:
    """Send the other half of an upload, and return the answer."""
    body = update.path.read_bytes()
    connection.sendall(body[len(body) // 2 :])
    connection.shutdown(socket.SHUT_WR)
    return connection.makefile("rb").read()


@contextlib.contextmanager
def half_an_upload(aggregator: Aggregator, update: Update) -> Iterator[socket.socket]:
    """Send an upload's head and half of its body, and give the connection once the aggregator has some of it."""
    body = update.path.read_bytes()
    head = f"PUT /v1/rounds/1/updates/{update.client_id} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
    spool = aggregator.state_dir / "spool"
    with socket.create_connection((aggregator.host, aggregator.port), timeout=60) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])
        aggregator.process.wait_until(lambda: any(spool.iterdir()), "the upload is being received")
        yield connection
