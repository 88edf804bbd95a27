"""An operator sees whoever is let go of before a request of theirs reaches the app: each reason is done for real."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import requests

from fedtier.certificates import read_certificate
from fedtier.dtypes import Array
from fedtier.serving.front.connection_metrics import FrontView, Parting
from fedtier.tls import Tls
from fedtier.upstream import NotTrusted, Upstream
from tests.authorities import HOST, Authority
from tests.builders import trained, update_bytes
from tests.fedtier.serving.served_master import (
    PLAIN,
    THREADS,
    Server,
    ended,
    put_headers,
    read_answer,
    running,
    with_limits,
)
from tests.masters import wait_until
from tests.s3_servers import S3Server
from tests.scrapes import Scrape

AN_HOUR = 3600.0
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
OPENAPI = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
REFUSED = put_headers("/v1/rounds/0/updates/a", 50 << 20)
PATIENT = with_limits(head_seconds=AN_HOUR, idle_seconds=AN_HOUR, drain_seconds=AN_HOUR)


@dataclass(frozen=True)
class Watched:
    server: Server
    log: Path

    def scrape(self) -> Scrape:
        """Scrape the port of its own: what the front lets nobody ask is to be seen there."""
        (served,) = self.logged("metrics served")
        return Scrape(requests.get(served["url"], timeout=30).text)

    @property
    def let_go(self) -> dict[str, float]:
        numbers = self.scrape().reasons("connections_let_go_total")
        return {reason: number for reason, number in numbers.items() if number}

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = (json.loads(line) for line in self.log.read_text().splitlines())
        return [line for line in lines if line["event"] == event]

    @contextmanager
    def letting_go(self, reason: Parting, number: int = 1) -> Iterator[None]:
        """Wait, after the block, until so many more were let go of for this reason, and check that none were else."""
        before = self.let_go
        yield
        after = {**before, reason: before.get(reason, 0) + number}
        wait_until(lambda: self.let_go.get(reason, 0) >= after[reason])
        assert self.let_go == after
        wait_until(lambda: reason in {line["reason"] for line in self.logged("connections let go")})


@contextmanager
def watched(
    s3_server: S3Server,
    folder: Path,
    *flags: str,
    program: tuple[str, str] = PLAIN,
    model: dict[str, Array] | None = None,
) -> Iterator[Watched]:
    log = folder / "log"
    with running(s3_server, folder, "--metrics-port", "0", *flags, program=program, model=model, log=log) as server:
        yield Watched(server, log)


@pytest.fixture(scope="module")
def patient(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A master that lets go of nobody for an hour who sends nothing wrong."""
    with watched(s3_server, tmp_path_factory.mktemp("patient"), program=PATIENT) as started:
        yield started


def from_address(server: Server, address: str) -> socket.socket:
    return socket.create_connection(server.address, timeout=30, source_address=(address, 0))


# Heads


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "], ids=["silent", "half a head"])
def test_who_sends_no_whole_head_in_time_is_counted(s3_server: S3Server, tmp_path: Path, sent: bytes) -> None:
    with watched(s3_server, tmp_path, program=with_limits(head_seconds=0.2)) as seen:
        with seen.letting_go("head_deadline"), seen.server.open() as connection:
            connection.sendall(sent)
            assert ended(connection)
        (line,) = seen.logged("connections let go")
    assert (line["level"], line["number"], line["addresses"], line["busiest"]) == ("warning", 1, 1, "127.0.0.1")
    assert line["example"] == "no whole request came in time"


def test_who_is_idle_after_an_answer_or_goes_away_is_no_news(s3_server: S3Server, tmp_path: Path) -> None:
    with watched(s3_server, tmp_path, program=with_limits(idle_seconds=0.1, head_seconds=AN_HOUR)) as seen:
        with seen.server.open() as idle:
            idle.sendall(HEALTH)
            assert ended(idle)
        for sent in (b"", HEALTH[:10]):
            with seen.server.open() as gone:
                gone.sendall(sent)
        wait_until(lambda: seen.server.connections == 0)
        assert seen.let_go == {}
        assert seen.logged("connections let go") == []
        assert seen.scrape()("accepted_connections_total") == 3


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"nonsense\r\n\r\n", "malformed_head"),
        (b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", "malformed_head"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * (1 << 15), "head_too_large"),
        (b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\n\r\n", "head_too_large"),
    ],
)
def test_who_sends_no_head_that_can_be_read_is_counted(patient: Watched, head: bytes, reason: Parting) -> None:
    with patient.letting_go(reason), patient.server.open() as connection:
        connection.sendall(head)
        assert read_answer(connection)[0] == 400


def test_a_flood_is_no_flood_of_lines(patient: Watched) -> None:
    before = len(patient.logged("connections let go"))
    with patient.letting_go("malformed_head", 300):
        for _ in range(300):
            with patient.server.open() as connection:
                connection.sendall(b"nonsense\r\n\r\n")
                assert read_answer(connection)[0] == 400
    assert len(patient.logged("connections let go")) - before < 30


# Room


def test_who_makes_room_and_who_finds_none_are_counted(s3_server: S3Server, tmp_path: Path) -> None:
    program = with_limits(connections=8, share=0.25, head_seconds=AN_HOUR, drain_seconds=AN_HOUR)
    with watched(s3_server, tmp_path, program=program) as seen, ExitStack() as stack:
        with seen.letting_go("evicted"):
            silent, *others = [stack.enter_context(from_address(seen.server, "127.0.0.3")) for _ in range(3)]
            assert ended(silent)
        for connection in others:
            connection.sendall(REFUSED)
            assert read_answer(connection)[0] == 409
        wait_until(lambda: seen.scrape()("connections", state="drain") == 2)
        with seen.letting_go("turned_away"):
            assert ended(stack.enter_context(from_address(seen.server, "127.0.0.3")))
        lines = seen.logged("connections let go")
    assert [(line["reason"], line["busiest"]) for line in lines] == [
        ("evicted", "127.0.0.3"),
        ("turned_away", "127.0.0.3"),
    ]


def test_connections_are_shown_by_what_they_wait_for(s3_server: S3Server, tmp_path: Path) -> None:
    with watched(s3_server, tmp_path, program=PATIENT) as seen, ExitStack() as stack:
        sent = [b"", b"GET /", HEALTH, REFUSED, put_headers("/v1/rounds/1/updates/a", 1000) + bytes(10)]
        for content in sent:
            stack.enter_context(seen.server.open()).sendall(content)
        expected = {"head": 2, "idle": 1, "drain": 1, "request": 1, "flush": 0}

        def stand() -> dict[str, float]:
            shown = seen.scrape()
            return {state: shown("connections", state=state) for state in shown.labels("connections")}

        wait_until(lambda: stand() == expected)
        shown = seen.scrape()
        assert (shown("threads"), shown("threads_used"), shown("requests_waiting")) == (THREADS, 1, 0)
        assert shown("connection_limit") > 100


def test_requests_wait_where_there_are_more_of_them_than_threads() -> None:
    view = FrontView(limit=100, threads=4, waiting={}, requests=7)
    assert (view.threads_used, view.requests_waiting) == (4, 3)


# Transfers


def test_an_upload_in_drops_is_counted_as_broken_off_and_told_with_its_client(
    s3_server: S3Server, tmp_path: Path
) -> None:
    with watched(s3_server, tmp_path, "--min-rate", "1000000", program=with_limits(rate_seconds=0.3)) as seen:
        with seen.letting_go("slow_upload"), seen.server.open() as connection:
            connection.sendall(put_headers("/v1/rounds/1/updates/drops", 1000) + bytes(10))
            assert read_answer(connection)[0] == 503
        assert seen.scrape().uploads("update") == {"broken_off": 1}
        (line,) = seen.logged("update refused")
    assert (line["client_id"], line["reason"]) == ("drops", "unavailable")
    assert line["detail"].startswith("the body came too slowly: slower than 1000000 bytes per second")


def test_a_download_that_is_not_read_is_counted(s3_server: S3Server, tmp_path: Path) -> None:
    model = {"w": np.zeros((4, 1 << 20), np.float32)}
    program = with_limits(rate_seconds=0.3)
    with (
        watched(s3_server, tmp_path, "--min-rate", "1000000", program=program, model=model) as seen,
        seen.letting_go("slow_download"),
        socket.socket() as connection,
    ):
        ask_and_hardly_read(connection, seen.server, b"GET /v1/rounds/0/model HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: seen.server.connections == 0)


def test_the_end_of_an_answer_that_is_not_read_is_counted(s3_server: S3Server, tmp_path: Path) -> None:
    program = with_limits(flush_bytes=50 << 20, flush_seconds=0.3)
    with (
        watched(s3_server, tmp_path, program=program) as seen,
        seen.letting_go("slow_answer"),
        socket.socket() as connection,
    ):
        ask_and_hardly_read(connection, seen.server, 1000 * OPENAPI)
        wait_until(lambda: seen.server.connections == 0)


def ask_and_hardly_read(connection: socket.socket, server: Server, request: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
    connection.settimeout(30)
    connection.connect(server.address)
    connection.sendall(request)
    assert connection.recv(1) == b"H"


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secure(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Watched]:
    """A patient master with TLS."""
    certfile, keyfile = authority.pair(HOST, file="server")
    flags = ("--certfile", str(certfile), "--keyfile", str(keyfile))
    with watched(s3_server, tmp_path_factory.mktemp("secure"), *flags, program=PATIENT) as started:
        yield started


def talk_nonsense(server: Server, _: Authority) -> None:
    with server.open() as connection:
        connection.sendall(bytes(100))
        ended(connection)


def believe_nobody(server: Server, _: Authority) -> None:
    with server.open() as connection, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(connection, server_hostname=HOST)


def speak_old_tls(server: Server, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with server.open() as connection, pytest.raises((ssl.SSLError, ConnectionResetError)):
        context.wrap_socket(connection, server_hostname=HOST)


@pytest.mark.parametrize("do", [talk_nonsense, believe_nobody, speak_old_tls])
def test_a_handshake_that_fails_is_counted(
    secure: Watched, authority: Authority, do: Callable[[Server, Authority], None]
) -> None:
    with secure.letting_go("tls_failed"):
        do(secure.server, authority)


def test_a_handshake_that_the_other_end_leaves_is_no_news(secure: Watched) -> None:
    before = secure.let_go
    for sent in (b"", b"\x16\x03\x01"):
        with secure.server.open() as connection:
            connection.sendall(sent)
    wait_until(lambda: secure.server.connections == 0)
    assert secure.let_go == before


@pytest.mark.parametrize("sent", [HEALTH, REFUSED + bytes(1 << 16)], ids=["GET", "PUT"])
def test_plain_http_to_a_tls_port_reads_that_it_is_one(secure: Watched, sent: bytes) -> None:
    with secure.letting_go("plain_http"), secure.server.open() as connection:
        connection.sendall(sent)
        status, document = read_answer(connection)
        assert (status, document["type"]) == (400, "urn:fedtier:problem:bad-request")
        assert document["detail"] == "this port speaks TLS; write its address with https://"
        connection.shutdown(socket.SHUT_WR)
        assert ended(connection)


def test_a_program_that_was_given_http_for_https_is_told_so(secure: Watched, tmp_path: Path) -> None:
    url = secure.server.url.replace("https://", "http://")
    body = tmp_path / "body"
    body.write_bytes(update_bytes(trained(1)))
    with secure.letting_go("plain_http", 2), Upstream(url) as upstream:
        for ask in (upstream.unready, lambda: upstream.put_file("/v1/rounds/1/updates/a", body, sha256="00" * 32)):
            with pytest.raises(NotTrusted, match=f"{url} speaks TLS; write its address with https://"):
                ask()


def test_those_who_send_plain_http_keep_nobody_from_an_answer(secure: Watched, authority: Authority) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(secure.server.open()).sendall(HEALTH)
        with Upstream(secure.server.url, tls=authority.believed) as upstream:
            assert upstream.unready() is None


def test_the_end_of_the_certificate_that_is_shown_is_seen_also_when_it_is_renewed(
    secure: Watched, authority: Authority
) -> None:
    def shown_after_a_connection(tls: Tls) -> float:
        with Upstream(secure.server.url, tls=tls) as upstream:
            assert upstream.unready() is None
        return secure.scrape()("certificate_not_after_seconds")

    for days in (1, 9):
        certfile, _ = authority.pair(HOST, file="server", days=days)
        end = read_certificate(certfile).not_valid_after_utc.timestamp()
        assert shown_after_a_connection(authority.believed) == end


# Labels


def test_reasons_are_a_short_list_that_is_there_from_the_start(patient: Watched) -> None:
    assert set(patient.scrape().reasons("connections_let_go_total")) == set(get_args(Parting))
    assert "certificate_not_after_seconds" in patient.scrape().text
    assert patient.scrape()("certificate_not_after_seconds") == 0.0  # without TLS it has no value
