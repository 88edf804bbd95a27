"""What senders see on the wire: a real master under gunicorn, spoken to through sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from fedtier.problems import RoundOver, TooLarge
from fedtier.upstream import Upstream, file_sha256
from tests.builders import trained, update_bytes
from tests.fedtier.serving.served_master import (
    THREADS,
    Server,
    command,
    put_headers,
    read_answer,
    running,
    with_limits,
)
from tests.masters import wait_until
from tests.s3_servers import S3Server

LARGE = 64 << 20


@pytest.fixture(scope="module")
def server(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(s3_server, tmp_path_factory.mktemp("connections")) as started:
        yield started


def test_a_refusal_that_headers_decide_comes_before_the_body(server: Server) -> None:
    with server.open() as connection:
        connection.sendall(put_headers("/v1/rounds/9/updates/a", LARGE))
        status, document = read_answer(connection)
        assert (status, document["type"]) == (409, "urn:fedtier:problem:round-not-open")


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/v1/rounds/1/updates/a", {"Content_Type": "text/plain"}, 415),
        ("/v1/rounds/1/updates/a", {}, 413),
        ("/v1/rounds/1/updates/a", {"Content_Digest": "x"}, 413),
        ("/v1/rounds/x/updates/a", {}, 400),
        ("/v1/rounds/1/updates/-a", {}, 400),
        ("/v1/nowhere", {}, 404),
        ("/v1/round", {}, 405),
    ],
)
def test_every_refusal_by_headers_comes_before_the_body(
    server: Server, path: str, fields: dict[str, str], status: int
) -> None:
    with server.open() as connection:
        connection.sendall(put_headers(path, LARGE, **fields))
        assert read_answer(connection)[0] == status


def test_a_refused_large_body_ends_the_connection(server: Server) -> None:
    """The sender need not send the rest, and what it does send is not taken for a request."""
    with server.open() as connection:
        connection.sendall(put_headers("/v1/rounds/0/updates/a", LARGE))
        assert read_answer(connection)[0] == 409
        try:
            while True:
                connection.sendall(bytes(1 << 16))
        except (BrokenPipeError, ConnectionResetError):
            pass


def test_a_refused_small_body_leaves_the_connection_good(server: Server) -> None:
    with server.open() as connection:
        for _ in range(3):
            connection.sendall(put_headers("/v1/rounds/0/updates/a", 1000) + bytes(1000))
            assert read_answer(connection)[0] == 409
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection)[0] == 200


def test_a_client_that_sends_64_mb_reads_its_refusal(server: Server, tmp_path: Path) -> None:
    body = tmp_path / "large"
    with body.open("wb") as file:
        file.truncate(LARGE)
    with Upstream(server.url) as upstream:
        for path, refusal in (("/v1/rounds/1/updates/a", TooLarge), ("/v1/rounds/0/updates/a", RoundOver)):
            with pytest.raises(refusal):
                upstream.put_file(path, body, sha256=file_sha256(body))


def test_a_chunked_body_is_411_and_its_connection_good(server: Server) -> None:
    with server.open() as connection:
        connection.sendall(
            b"PUT /v1/rounds/1/updates/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n0\r\n\r\n"
        )
        assert read_answer(connection)[0] == 411
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection)[0] == 200


def once_a_slot_is_free(ask: Callable[[], requests.Response]) -> requests.Response:
    """Ask until there is a slot: the only one is free a moment after the last byte of the answer before."""
    answers: list[requests.Response] = []

    def is_answered() -> bool:
        answers.append(ask())
        return answers[-1].status_code != 503

    wait_until(is_answered)
    return answers[-1]


def test_a_client_that_goes_away_in_its_body_leaves_nothing(server: Server) -> None:
    body = update_bytes(trained(1))
    before = server.counted
    with server.open() as connection:
        connection.sendall(put_headers("/v1/rounds/1/updates/gone", len(body)) + body[:100])
        wait_until(lambda: list(server.spool.iterdir()))
    wait_until(lambda: not list(server.spool.iterdir()))
    assert server.counted == before


def test_an_upload_that_stands_still_takes_a_slot_and_nothing_else(server: Server) -> None:
    body = update_bytes(trained(2))
    with server.open() as connection:
        connection.sendall(put_headers("/v1/rounds/1/updates/slow", len(body)) + body[:100])
        wait_until(lambda: list(server.spool.iterdir()))
        refusal = requests.put(f"{server.url}/v1/rounds/1/updates/other", data=body, timeout=30)
        assert (refusal.status_code, refusal.json()["type"]) == (503, "urn:fedtier:problem:unavailable")
        assert int(refusal.headers["Retry-After"]) >= 1
        assert server.get("/healthz").status_code == 200
        connection.sendall(body[100:])
        assert read_answer(connection)[0] == 200


def test_refused_senders_that_stand_still_do_not_keep_health_checks_from_their_answer(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(2 * THREADS):
            connection = stack.enter_context(server.open())
            connection.sendall(put_headers("/v1/rounds/0/updates/a", LARGE))
        assert server.get("/healthz").status_code == 200


def test_an_update_is_counted_over_the_wire(server: Server) -> None:
    body = update_bytes(trained(3))
    answer = once_a_slot_is_free(lambda: requests.put(f"{server.url}/v1/rounds/1/updates/wire", data=body, timeout=30))
    assert (answer.status_code, answer.json()["client_id"]) == (200, "wire")
    assert list(server.spool.iterdir()) == []


def test_a_model_comes_over_the_wire_in_ranges(server: Server, tmp_path: Path) -> None:
    whole = once_a_slot_is_free(lambda: server.get("/v1/rounds/0/model"))
    part = once_a_slot_is_free(
        lambda: requests.get(f"{server.url}/v1/rounds/0/model", headers={"Range": "bytes=8-"}, timeout=30)
    )
    assert (part.status_code, part.content) == (206, whole.content[8:])


def test_a_port_in_use_is_one_clear_sentence(s3_server: S3Server, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = os.environ | dict(s3_server.environment)
        done = subprocess.run(
            command(s3_server, tmp_path, "--port", str(port)),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Error: cannot listen on 127.0.0.1:{port}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_state_directory_in_use_is_one_clear_sentence(s3_server: S3Server, tmp_path: Path) -> None:
    with running(s3_server, tmp_path):
        environment = os.environ | dict(s3_server.environment)
        done = subprocess.run(
            command(s3_server, tmp_path), env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("Error: the state directory")]
    assert "Traceback" not in done.stderr


def test_sigterm_ends_the_server_with_status_0(s3_server: S3Server, tmp_path: Path) -> None:
    with running(s3_server, tmp_path) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


@pytest.fixture
def patient(s3_server: S3Server, tmp_path: Path) -> Iterator[Server]:
    """A master that would wait an hour for whoever is silent, were it not told to end."""
    program = with_limits(head_seconds=3600.0, idle_seconds=3600.0)
    with running(s3_server, tmp_path, "--grace", "3600", program=program) as started:
        yield started


def test_an_idle_connection_does_not_hold_up_the_end(patient: Server) -> None:
    with patient.open() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection)[0] == 200
        patient.process.send_signal(signal.SIGTERM)
        assert patient.process.wait(30) == 0
        assert connection.recv(1) == b""


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHo"])
def test_connections_without_a_whole_request_do_not_hold_up_the_end(patient: Server, begun: bytes) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(patient.open()) for _ in range(3)]
        for connection in silent:
            connection.sendall(begun)
        assert patient.get("/healthz").status_code == 200  # who is answered now came after them
        patient.process.send_signal(signal.SIGTERM)
        assert patient.process.wait(30) == 0
        assert [connection.recv(1) for connection in silent] == [b"", b"", b""]


def test_a_connection_whose_last_answer_came_after_sigterm_does_not_hold_up_the_end(patient: Server) -> None:
    body = update_bytes(trained(4))
    with patient.open() as connection:
        connection.sendall(put_headers("/v1/rounds/1/updates/last", len(body)) + body[:100])
        wait_until(lambda: list(patient.spool.iterdir()))
        patient.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(patient))
        connection.sendall(body[100:])
        assert read_answer(connection)[0] == 200
        assert patient.process.wait(30) == 0
        assert connection.recv(1) == b""


def listens(server: Server) -> bool:
    try:
        server.open().close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_process_that_loses_a_thread_is_started_anew(tmp_path: Path) -> None:
    script = """
import threading
from fedtier.serving import runner
threading.excepthook = runner._end_with_thread
threading.Thread(target=lambda: 1 / 0, name="recorder").start()
threading.Event().wait()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "a thread was lost" in done.stdout + done.stderr
