"""A client reads the answer to an upload whenever it comes, and has as long for a body as its way takes."""

from __future__ import annotations

import importlib
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fedtier.problems import Problem, RoundOver
from fedtier.tls import Tls
from fedtier.upstream import Timeouts, Unreachable, Upstream
from tests.client.loopback import problem_reply

NO_DIGEST = "0" * 64
LARGER_THAN_BUFFERS = 32 << 20
OVER = problem_reply(RoundOver("round 1 is closed", round=2, attempt=3))
REFUSAL = b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%s" % (len(OVER.body), OVER.body)
RECEIPT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Connection(Protocol):
    """What a server reads from and writes to."""

    def recv(self, size: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> None: ...


@contextmanager
def spoken_to(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Have every connection handled by a function, in a thread of its own, and yield the address."""
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connections.append(listener.accept()[0])
                    threads.append(threading.Thread(target=talk, args=[connections[-1]]))
                    threads[-1].start()

        threads.append(threading.Thread(target=accept))
        threads[0].start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for connection in connections:
                connection.close()


def read_head(connection: Connection) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        block = connection.recv(1)
        if not block:
            return head
        head += block
    return head


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "body"
    with path.open("wb") as file:
        file.truncate(LARGER_THAN_BUFFERS)
    return path


def test_an_answer_is_read_where_the_server_reads_no_more_and_keeps_the_connection(body: Path) -> None:
    def refuse(connection: socket.socket) -> None:
        if read_head(connection):
            connection.sendall(REFUSAL)

    with spoken_to(refuse) as url, Upstream(url) as upstream, pytest.raises(RoundOver, match="round 1 is closed"):
        upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST)


def test_an_answer_is_read_where_the_server_closes_in_the_midst_of_the_body(body: Path) -> None:
    def refuse(connection: socket.socket) -> None:
        read_head(connection)
        connection.recv(1 << 16)
        connection.sendall(REFUSAL)
        connection.close()  # with bytes unread: the sender gets a reset

    with spoken_to(refuse) as url, Upstream(url) as upstream, pytest.raises(RoundOver, match="round 1 is closed"):
        upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST)


def test_after_an_answer_in_the_midst_of_a_body_the_next_request_has_a_connection_of_its_own(body: Path) -> None:
    heads: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        heads.append(read_head(connection))
        connection.sendall(REFUSAL if heads[-1].startswith(b"PUT") else RECEIPT)

    with spoken_to(answer) as url, Upstream(url) as upstream:
        with pytest.raises(RoundOver):
            upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST)
        assert upstream.manifest(1) == b"{}"
    assert [head.split()[0] for head in heads] == [b"PUT", b"GET"]


def read_all(connection: Connection) -> None:
    missing = LARGER_THAN_BUFFERS
    while missing and (block := connection.recv(min(missing, 1 << 19))):
        missing -= len(block)


def test_what_is_no_answer_yet_does_not_end_the_body(body: Path) -> None:
    def receive(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        read_all(connection)
        connection.sendall(RECEIPT)

    with spoken_to(receive) as url, Upstream(url) as upstream:
        assert upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST) == {}


def test_what_is_no_answer_yet_does_not_end_the_body_where_its_first_bytes_come_alone(body: Path) -> None:
    half = LARGER_THAN_BUFFERS // 2

    def receive(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(REFUSAL[:4])
        connection.recv(half, socket.MSG_WAITALL)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n"[4:])
        connection.recv(LARGER_THAN_BUFFERS - half, socket.MSG_WAITALL)
        connection.sendall(RECEIPT)

    with spoken_to(receive) as url, Upstream(url) as upstream:
        assert upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST) == {}


def test_an_answer_whose_first_bytes_come_alone_is_read_where_the_server_reads_no_more(body: Path) -> None:
    def refuse(connection: socket.socket) -> None:
        if read_head(connection):
            connection.sendall(REFUSAL[:4])
            threading.Event().wait(0.3)
            connection.sendall(REFUSAL[4:])

    with spoken_to(refuse) as url, Upstream(url) as upstream, pytest.raises(RoundOver, match="round 1 is closed"):
        upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST)


def test_a_part_of_a_body_may_take_longer_than_a_connection_may_to_be_made(body: Path) -> None:
    impatient = Timeouts(connect=0.1, read=30.0)

    def receive(connection: socket.socket) -> None:
        read_head(connection)
        threading.Event().wait(5 * impatient.connect)
        read_all(connection)
        connection.sendall(RECEIPT)

    with spoken_to(receive) as url, Upstream(url, timeouts=impatient) as upstream:
        assert upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST) == {}


def test_a_body_of_which_nothing_is_taken_any_more_is_given_up(body: Path) -> None:
    with (
        spoken_to(lambda connection: None) as url,
        Upstream(url, timeouts=Timeouts(connect=2.0, read=0.1)) as upstream,
        pytest.raises(Unreachable, match="timed out"),
    ):
        upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST)


def test_an_answer_is_read_early_behind_a_proxy_too(body: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(connection: socket.socket) -> None:
        if read_head(connection):
            connection.sendall(REFUSAL)

    with spoken_to(refuse) as proxy, monkeypatch.context() as variables:
        variables.setenv("http_proxy", proxy)
        with (
            Upstream("http://worker.invalid", tls=Tls(plain_http=True)) as upstream,
            pytest.raises(RoundOver, match="round 1 is closed"),
        ):
            upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST)


def test_a_body_goes_through_a_socks_proxy(body: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def receive(connection: socket.socket) -> None:
        read_head(connection)
        read_all(connection)
        connection.sendall(RECEIPT)

    with spoken_to(receive) as url, with_socks(monkeypatch, url) as proxy:
        monkeypatch.setenv("all_proxy", proxy)
        with Upstream("http://worker.invalid", tls=Tls(plain_http=True)) as upstream:
            assert upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST) == {}


@contextmanager
def with_socks(monkeypatch: pytest.MonkeyPatch, url: str) -> Iterator[str]:
    """Stand in for PySocks, which urllib3 needs for such a proxy, with one that leads to one place."""
    socks: Any = ModuleType("socks")
    socks.PROXY_TYPE_SOCKS5, socks.ProxyError = 2, OSError
    address = urlsplit(url)
    socks.create_connection = lambda *_, **__: socket.create_connection((address.hostname, address.port))
    with monkeypatch.context() as modules:
        modules.setitem(sys.modules, "socks", socks)
        modules.delitem(sys.modules, "urllib3.contrib.socks", raising=False)
        contrib = importlib.import_module("urllib3.contrib.socks")
        modules.setitem(sys.modules, contrib.__name__, contrib)
        modules.setattr("requests.adapters.SOCKSProxyManager", contrib.SOCKSProxyManager)
        yield "socks5://127.0.0.1:1080"


def self_signed(folder: Path) -> Path:
    """Write a certificate of 127.0.0.1 with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    return path


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The context of a server that is trusted."""
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return context


class Within:
    """The server's end of TLS within another connection."""

    def __init__(self, outer: Connection, tls: ssl.SSLContext) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._inner = tls.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def recv(self, size: int, /) -> bytes:
        while True:
            try:
                return self._inner.read(size)
            except ssl.SSLWantReadError:
                self._outer.sendall(self._outgoing.read())  # of the handshake
                if not (block := self._outer.recv(1 << 16)):
                    return b""
                self._incoming.write(block)

    def sendall(self, data: bytes, /) -> None:
        self._inner.write(data)
        self._outer.sendall(self._outgoing.read())


def test_a_body_goes_through_tls_within_the_tls_of_a_proxy(
    body: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receive(connection: socket.socket) -> None:
        with tls.wrap_socket(connection.dup(), server_side=True) as outer:
            read_head(outer)
            outer.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            inner = Within(outer, tls)
            read_head(inner)
            read_all(inner)
            inner.sendall(RECEIPT)

    with spoken_to(receive) as url, monkeypatch.context() as variables:
        variables.setenv("https_proxy", url.replace("http://", "https://"))
        for name in ("no_proxy", "NO_PROXY"):
            variables.setenv(name, "")
        with Upstream("https://127.0.0.1:9") as upstream:
            assert upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST) == {}


def test_what_tls_sends_for_itself_does_not_end_the_body(body: Path, tls: ssl.SSLContext) -> None:
    def receive(connection: socket.socket) -> None:
        with tls.wrap_socket(connection.dup(), server_side=True) as secure:  # session tickets come with it
            read_head(secure)
            read_all(secure)
            secure.sendall(RECEIPT)

    with spoken_to(receive) as url, Upstream(url.replace("http://", "https://")) as upstream:
        assert upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST) == {}


def test_a_server_that_goes_away_without_an_answer_is_unreachable(body: Path) -> None:
    def go(connection: socket.socket) -> None:
        read_head(connection)
        connection.close()

    with spoken_to(go) as url, Upstream(url) as upstream, pytest.raises(Unreachable) as caught:
        upstream.put_file("/v1/rounds/1/updates/a", body, sha256=NO_DIGEST)
    assert not isinstance(caught.value, Problem)
