"""Nobody who connects can keep the others from their answer: a real master, and hundreds who mean it no good."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
import requests

from fedtier.tokens import generate_keys
from tests.builders import trained, update_bytes
from tests.fedtier.serving.served_master import (
    THREADS,
    Server,
    ended,
    next_answer,
    put_headers,
    read_answer,
    running,
    with_limits,
)
from tests.masters import wait_until
from tests.s3_servers import S3Server

MANY = 300
AN_HOUR = 3600.0
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 50 << 20
SILENT = b""
HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "
REFUSED = put_headers("/v1/rounds/0/updates/a", LARGE) + bytes(1000)


@pytest.fixture(scope="module")
def patient(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A master that lets go of nobody for an hour."""
    program = with_limits(head_seconds=AN_HOUR, idle_seconds=AN_HOUR, drain_seconds=AN_HOUR)
    with running(s3_server, tmp_path_factory.mktemp("patient"), program=program) as started:
        yield started


@pytest.fixture(scope="module")
def hasty(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A master that lets go of everybody soon."""
    program = with_limits(head_seconds=0.2, idle_seconds=0.2, drain_seconds=0.2)
    with running(s3_server, tmp_path_factory.mktemp("hasty"), program=program) as started:
        yield started


@pytest.mark.parametrize("sent", [SILENT, HALF_A_HEAD, REFUSED], ids=["silent", "half a head", "refused body"])
def test_hundreds_who_do_not_go_on_keep_nobody_from_an_answer(patient: Server, sent: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(patient.open()).sendall(sent)
        wait_until(lambda: patient.connections >= MANY)
        for _ in range(3):
            assert patient.get("/healthz").status_code == 200
        body = update_bytes(trained(1))
        answer = requests.put(f"{patient.url}/v1/rounds/1/updates/{len(sent)}", data=body, timeout=30)
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "sent", [SILENT, HALF_A_HEAD, REFUSED, HEALTH], ids=["silent", "half a head", "refused body", "idle"]
)
def test_hundreds_who_do_not_go_on_are_let_go(hasty: Server, sent: bytes) -> None:
    assert hasty.get("/healthz").status_code == 200
    wait_until(lambda: hasty.connections == 0)
    threads, descriptors = hasty.threads, hasty.descriptors
    with ExitStack() as stack:
        held = [stack.enter_context(hasty.open()) for _ in range(MANY)]
        for connection in held:
            with suppress(ConnectionError):
                connection.sendall(sent)
        assert all(ended(connection) for connection in held)
        wait_until(lambda: hasty.descriptors <= descriptors)
    assert hasty.threads < threads + 2 * THREADS, (
        "those of the pool and the timers of the log, never one per connection"
    )


# Requests


def test_a_head_that_comes_byte_by_byte_is_answered(patient: Server) -> None:
    with patient.open() as connection:
        for byte in HEALTH:
            connection.sendall(bytes([byte]))
        assert read_answer(connection)[0] == 200


def test_requests_that_were_sent_at_once_are_answered_in_order(patient: Server) -> None:
    with patient.open() as connection, connection.makefile("rb") as answers:
        connection.sendall(HEALTH + b"GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + HEALTH[:-4])
        assert [next_answer(answers)[0] for _ in range(2)] == [200, 404]
        connection.sendall(HEALTH[-4:])
        assert next_answer(answers)[0] == 200


def test_a_connection_takes_one_request_after_another(patient: Server) -> None:
    body = update_bytes(trained(7))
    with patient.open() as connection:
        for number in range(3):
            connection.sendall(put_headers(f"/v1/rounds/1/updates/kept-{number}", len(body)) + body)
            assert read_answer(connection)[0] == 200
            connection.sendall(HEALTH)
            assert read_answer(connection)[0] == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: x\n\n",
        b"GET /healthz HTTP/9.1\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello\n",
        b"PUT / HTTP/1.1\r\nContent-Length: a\r\n\r\n",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: none\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"a" * (1 << 15),
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_a_malformed_head_is_a_problem_like_any_other(patient: Server, head: bytes) -> None:
    with patient.open() as connection:
        connection.sendall(head)
        status, document = read_answer(connection)
        assert (status, document["type"]) == (400, "urn:fedtier:problem:bad-request")
        assert ended(connection)


def test_a_malformed_head_is_not_repeated_to_whoever_reads_answers(patient: Server) -> None:
    with patient.open() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nAuthorization : Bearer secret\r\n\r\n")
        assert "secret" not in json.dumps(read_answer(connection)[1])


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "X-Forwarded-Proto", "X-Forwarded-Ssl"])
def test_no_header_says_what_is_asked_for(patient: Server, name: str) -> None:
    with patient.open() as connection, connection.makefile("rb") as answers:
        for target in (b"/healthz", b"/v1/healthz"):
            connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n%s: /v1\r\n\r\n" % (target, name.encode()))
        assert [next_answer(answers)[0] for _ in range(2)] == [200, 404]


# Refused bodies


@pytest.mark.parametrize("path", ["/v1/rounds/0/updates/a", "/v1/rounds/1/updates/a", "/v1/rounds/1/updates/-"])
def test_a_refused_sender_of_50_mb_reads_its_refusal(patient: Server, path: str) -> None:
    answer = requests.put(patient.url + path, data=bytes(LARGE), timeout=30)
    assert answer.status_code in (409, 413, 400)
    assert answer.json()["type"].startswith("urn:fedtier:problem:")
    assert answer.headers["Connection"] == "close"


def test_a_stranger_who_sends_50_mb_reads_that_it_is_one(s3_server: S3Server, tmp_path: Path) -> None:
    keys = {"FEDTIER_VERIFY_KEYS": generate_keys()[1].decode()}
    with running(s3_server, tmp_path, variables=keys) as server:
        answer = requests.put(server.url + "/v1/rounds/1/updates/a", data=bytes(LARGE), timeout=30)
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:fedtier:problem:unauthenticated")


# Rates


def test_an_upload_in_drops_loses_its_slot(s3_server: S3Server, tmp_path: Path) -> None:
    body = update_bytes(trained(2))
    program = with_limits(rate_seconds=0.3)
    with running(s3_server, tmp_path, "--min-rate", "1000000", program=program) as server, server.open() as connection:
        connection.sendall(put_headers("/v1/rounds/1/updates/drops", 1000))
        while not select.select([connection], [], [], 0.01)[0]:
            connection.sendall(b"a")
        status, document = read_answer(connection)
        assert (status, document["type"]) == (503, "urn:fedtier:problem:unavailable")
        assert "slower than 1000000 bytes per second" in str(document["detail"])
        wait_until(lambda: not list(server.spool.iterdir()))
        answer = requests.put(f"{server.url}/v1/rounds/1/updates/other", data=body, timeout=30)
        assert answer.status_code == 200


def test_an_upload_that_is_slow_but_fast_enough_is_counted(s3_server: S3Server, tmp_path: Path) -> None:
    body = update_bytes(trained(3))
    with running(s3_server, tmp_path, "--min-rate", "1") as server, server.open() as connection:
        connection.sendall(put_headers("/v1/rounds/1/updates/slow", len(body)))
        for at in range(0, len(body), 20):
            connection.sendall(body[at : at + 20])
        assert read_answer(connection)[0] == 200
        assert server.counted == 1


def test_a_download_that_is_not_read_loses_its_slot(s3_server: S3Server, tmp_path: Path) -> None:
    model = {"w": np.zeros((4, 1 << 20), np.float32)}
    program = with_limits(rate_seconds=0.3)
    with (
        running(s3_server, tmp_path, "--min-rate", "1000000", program=program, model=model) as server,
        socket.socket() as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        connection.settimeout(30)
        connection.connect(server.address)
        connection.sendall(b"GET /v1/rounds/0/model HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1) == b"H"
        wait_until(lambda: server.connections == 0)
        answer = server.get("/v1/rounds/0/model")
        assert (answer.status_code, len(answer.content)) == (200, server.get("/v1/round").json()["base"]["bytes"])


# Room


def from_address(server: Server, address: str) -> socket.socket:
    return socket.create_connection(server.address, timeout=30, source_address=(address, 0))


def test_whoever_takes_all_connections_loses_the_longest_silent_ones(s3_server: S3Server, tmp_path: Path) -> None:
    program = with_limits(connections=4, share=1.0, head_seconds=AN_HOUR, idle_seconds=AN_HOUR)
    with running(s3_server, tmp_path, program=program) as server, ExitStack() as stack:
        kept = stack.enter_context(server.open())
        kept.sendall(HEALTH)
        assert read_answer(kept)[0] == 200
        silent = [stack.enter_context(server.open()) for _ in range(3)]
        with server.open() as newcomer:
            newcomer.sendall(HEALTH)
            assert read_answer(newcomer)[0] == 200
            assert ended(silent[0])
        kept.sendall(HEALTH)  # who has been served goes last
        assert read_answer(kept)[0] == 200


def test_one_address_cannot_have_all_connections(s3_server: S3Server, tmp_path: Path) -> None:
    program = with_limits(connections=8, share=0.5, head_seconds=AN_HOUR, idle_seconds=AN_HOUR)
    with running(s3_server, tmp_path, program=program) as server, ExitStack() as stack:
        neighbour = stack.enter_context(from_address(server, "127.0.0.2"))
        crowd = [stack.enter_context(from_address(server, "127.0.0.3")) for _ in range(8)]
        assert all(ended(connection) for connection in crowd[:4])
        neighbour.sendall(HEALTH)
        assert read_answer(neighbour)[0] == 200
        crowd[-1].sendall(HEALTH)
        assert read_answer(crowd[-1])[0] == 200


def test_a_server_with_few_descriptors_goes_on(s3_server: S3Server, tmp_path: Path) -> None:
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))"
    program = ("-c", few + with_limits(head_seconds=AN_HOUR)[1])
    with running(s3_server, tmp_path, program=program) as server, ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(server.open())
        assert server.get("/healthz").status_code == 200
        assert server.connections < 256
