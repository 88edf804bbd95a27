"""The front over TLS: handshakes wait where heads do, and nothing is lost between the two."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from fedtier.problems import NotFound
from fedtier.serving.front.flows import AT_LEAST
from fedtier.upstream import Upstream, file_sha256
from tests.fedtier.serving.served_master import next_answer, put_headers, read_answer
from tests.hostile.key_updates import written_by_hand
from tests.masters import wait_until

MANY = 300
LARGE = 50 << 20
KEY_UPDATES = 5000  # of 27 bytes
LONG_ANSWER = 8 << 20
THREADS = 4
GET_LARGE = b"GET /memory?length=%d HTTP/1.1\r\nHost: x\r\n\r\n" % LONG_ANSWER
GET = b"GET /connection HTTP/1.1\r\nHost: x\r\n\r\n"
SERVER = """
import json, ssl, sys, time
from pathlib import Path
from flask import Flask, request, send_file
from fedtier.logs import configure_logging
from fedtier.problems import NotFound, Problem
from fedtier.serving.answers import answer_problem
from fedtier.serving.front.connection_watch import ConnectionWatch
from fedtier.serving.front.limits import Limits
from fedtier.serving.metrics import AggregatorMetrics
from fedtier.serving.runner import ServerOptions, Service, serve

folder, limits = Path(sys.argv[1]), json.loads(sys.argv[2])
tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
tls.verify_mode = ssl.CERT_OPTIONAL
tls.load_cert_chain(folder / "server.pem")


def build():
    app = Flask("tls", static_folder=None)
    app.register_error_handler(Problem, answer_problem)

    @app.get("/connection")
    def connection():
        secure = request.environ["gunicorn.socket"]
        names = [value for _, value in (secure.getpeercert() or {}).get("subjectAltName", ())]
        return {"url": request.url, "names": names}

    @app.put("/body")
    def body():
        return {"length": len(request.stream.read())}

    @app.put("/refused")
    def refused():
        raise NotFound("nothing is taken here")

    @app.get("/file")
    def file():
        return send_file(folder / "file", mimetype="application/octet-stream")

    @app.get("/memory")
    def memory():
        return bytes(int(request.args["length"]))

    return Service(app, lambda: None, ConnectionWatch(AggregatorMetrics("worker").connections, time.monotonic))


configure_logging("worker")
serve(ServerOptions("worker", "127.0.0.1", 0, threads=4, announce_json=True, tls=tls, limits=Limits(**limits)), build)
"""


@dataclass(frozen=True)
class Served:
    url: str
    folder: Path
    process: subprocess.Popen[str]

    @property
    def descriptors(self) -> int:
        main = self.process.pid
        child = Path(f"/proc/{main}/task/{main}/children").read_text().split()[0]
        return len(list((Path("/proc") / child / "fd").iterdir()))

    @property
    def events(self) -> set[str]:
        """What it logged, all of it lines of JSON."""
        return {json.loads(line)["event"] for line in (self.folder / "log").read_text().splitlines()}

    def plain(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), timeout=30)

    def context(self, *protocols: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if protocols:
            context.set_alpn_protocols(protocols)
        return context

    def secure(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        return (context or self.context()).wrap_socket(self.plain(), server_hostname="127.0.0.1")

    def ask(self, **options: Any) -> requests.Response:
        return requests.get(self.url + "/connection", verify=str(self.folder / "ca.pem"), timeout=30, **options)


@contextmanager
def served(folder: Path, **limits: float) -> Iterator[Served]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    authority.issue_cert("client-1.example").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    command = [sys.executable, "-c", SERVER, str(folder), json.dumps(limits)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=(folder / "log").open("w"), text=True)
    try:
        assert process.stdout is not None
        yield Served(json.loads(process.stdout.readline())["url"], folder, process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("tls"), head_seconds=3600.0, idle_seconds=3600.0) as started:
        yield started


def half_a_handshake(server: Served) -> bytes:
    """Return the first bytes that a client would send."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = server.context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    return hello[: len(hello) // 2]


def rest(connection: socket.socket) -> bytes:
    """Read to the end; a reset is one too."""
    content = b""
    with suppress(ConnectionResetError):
        while block := connection.recv(1 << 16):
            content += block
    return content


def test_what_the_app_sees_of_a_connection(server: Served) -> None:
    seen = server.ask().json()
    assert server.url.startswith("https://")
    assert (seen["url"], seen["names"]) == (server.url + "/connection", [])


def test_the_app_sees_the_certificate_of_a_client(server: Served) -> None:
    seen = server.ask(cert=str(server.folder / "client.pem")).json()
    assert seen["names"] == ["client-1.example"]


def test_http_1_is_all_that_is_spoken(server: Served) -> None:
    with server.secure(server.context("h2", "http/1.1")) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("oldest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_follow_each_other_on_a_connection(server: Served, oldest: ssl.TLSVersion) -> None:
    context = server.context()
    context.minimum_version = context.maximum_version = oldest
    with server.secure(context) as connection:
        for _ in range(3):
            connection.sendall(GET)
            assert read_answer(connection)[0] == 200
            connection.sendall(put_headers("/body", 100_000) + bytes(100_000))
            assert read_answer(connection) == (200, {"length": 100_000})


def test_requests_in_one_record_are_answered_in_order(server: Served) -> None:
    with server.secure() as connection, connection.makefile("rb") as answers:
        connection.sendall(GET + put_headers("/body", 5) + b"12345" + GET[:-4])
        assert next_answer(answers)[0] == 200
        assert next_answer(answers) == (200, {"length": 5})
        connection.sendall(GET[-4:])
        assert next_answer(answers)[0] == 200


def test_what_tls_has_deciphered_already_is_not_forgotten(server: Served) -> None:
    """The end of a body and many requests in one record, which is read in two steps: no socket is readable then."""
    with server.secure() as connection, connection.makefile("rb") as answers:
        requests_taken = 100
        rest = AT_LEAST - requests_taken * len(GET)
        connection.sendall(put_headers("/body", 100 + rest) + bytes(100))
        connection.sendall(bytes(rest) + MANY * GET)
        assert next_answer(answers) == (200, {"length": 100 + rest})
        assert [next_answer(answers)[0] for _ in range(MANY)] == MANY * [200]


def test_a_head_that_comes_byte_by_byte_is_answered(server: Served) -> None:
    with server.secure() as connection:
        for byte in GET:
            connection.sendall(bytes([byte]))
        assert read_answer(connection)[0] == 200


def test_a_large_body_and_a_large_file_go_through(server: Served) -> None:
    content = bytes(range(256)) * (LARGE // 256)
    (server.folder / "file").write_bytes(content)
    trusted = str(server.folder / "ca.pem")
    answer = requests.put(server.url + "/body", data=content, verify=trusted, timeout=60)
    assert answer.json() == {"length": LARGE}
    assert requests.get(server.url + "/file", verify=trusted, timeout=60).content == content


def test_a_refused_sender_of_50_mb_reads_its_refusal(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.folder / "ca.pem"))
    body = tmp_path / "body"
    with body.open("wb") as file:
        file.truncate(LARGE)
    with Upstream(server.url) as upstream, pytest.raises(NotFound, match="nothing is taken here"):
        upstream.put_file("/refused", body, sha256=file_sha256(body))


def test_who_does_not_read_an_answer_takes_no_thread_and_may_read_it_later(tmp_path: Path) -> None:
    with served(tmp_path, flush_bytes=LARGE, flush_seconds=3600.0) as server, ExitStack() as stack:
        readers = [stack.enter_context(server.secure()) for _ in range(2 * THREADS)]
        for reader in readers:
            reader.sendall(GET_LARGE)
        assert server.ask().status_code == 200
        for reader in readers:
            answer = http.client.HTTPResponse(reader)
            answer.begin()
            assert answer.read() == bytes(LONG_ANSWER)


def test_who_does_not_read_an_answer_is_let_go(tmp_path: Path) -> None:
    with served(tmp_path, flush_bytes=LARGE, flush_seconds=0.3) as server, server.secure() as reader:
        before = server.descriptors
        reader.sendall(GET_LARGE)
        assert reader.recv(1) == b"H"
        wait_until(lambda: server.descriptors < before)
        assert len(rest(reader)) < LONG_ANSWER


def test_hundreds_of_unfinished_handshakes_keep_nobody_from_an_answer(server: Served) -> None:
    half = half_a_handshake(server)
    with ExitStack() as stack:
        for number in range(MANY):
            stack.enter_context(server.plain()).sendall(half if number % 2 else b"")
        for _ in range(3):
            assert server.ask().status_code == 200


def test_hundreds_of_unfinished_handshakes_are_let_go(tmp_path: Path) -> None:
    with served(tmp_path, head_seconds=0.3) as server, ExitStack() as stack:
        half = half_a_handshake(server)
        held = [stack.enter_context(server.plain()) for _ in range(MANY)]
        for connection in held:
            with suppress(ConnectionError):
                connection.sendall(half)
        assert [rest(connection) for connection in held] == MANY * [b""]
        assert server.ask().status_code == 200


def test_who_sends_nothing_but_key_updates_is_let_go(server: Served, tmp_path: Path) -> None:
    """OpenSSL takes one after another and returns only when there is something for the application."""
    with written_by_hand(server.plain(), server.context(), tmp_path) as (plain, _, writer):
        flood = b"".join(writer.key_update() for _ in range(KEY_UPDATES))
        with suppress(ConnectionError):
            plain.sendall(flood)
        rest(plain)
    assert server.ask().status_code == 200
    assert server.events <= {"connections let go"}


def test_a_key_may_be_updated(server: Served, tmp_path: Path) -> None:
    with written_by_hand(server.plain(), server.context(), tmp_path) as (plain, secure, writer):
        for _ in range(3):
            plain.sendall(writer.key_update() + writer.application(GET[:9]) + writer.key_update())
            plain.sendall(writer.application(GET[9:]))
            assert read_answer(secure)[0] == 200


@pytest.mark.parametrize(
    "sent", [b"GET /healthz HTTP/1.1\r\n\r\n", b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 1000]
)
def test_what_is_not_tls_is_let_go(server: Served, sent: bytes) -> None:
    with server.plain() as connection:
        connection.sendall(sent)
        rest(connection)
    assert server.ask().status_code == 200
    assert server.events <= {"connections let go"}


def test_a_client_reads_why_its_certificate_is_refused(server: Served) -> None:
    """TLS 1.3 tells it only after the client has begun to send; a reset would take that away."""
    stranger = server.context()
    certificate = server.folder / "stranger.pem"
    trustme.CA().issue_cert("client-1.example").private_key_and_cert_chain_pem.write_to_path(certificate)
    stranger.load_cert_chain(certificate)

    def ask() -> None:
        with server.secure(stranger) as connection:
            connection.sendall(put_headers("/body", 1 << 16) + bytes(1 << 16))
            connection.recv(1)

    for _ in range(20):
        with pytest.raises(ssl.SSLError, match="alert unknown ca"):
            ask()


def test_resets_at_any_moment_cost_nothing(server: Served) -> None:
    hello = half_a_handshake(server)
    reset = struct.pack("ii", 1, 0)
    for end in range(0, len(hello), 20):
        with server.plain() as connection:
            connection.sendall(hello[:end])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    with server.secure() as connection:
        connection.sendall(GET[:10])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    assert server.ask().status_code == 200
    assert server.events <= {"connections let go"}


def test_no_descriptor_is_left(server: Served) -> None:
    assert server.ask().status_code == 200
    with ExitStack() as stack:
        before = server.descriptors
        secure = [stack.enter_context(server.secure()) for _ in range(20)]
        for connection in secure:
            connection.sendall(GET)
            assert read_answer(connection)[0] == 200
        assert server.descriptors >= before + 19
    wait_until(lambda: server.descriptors <= before)
