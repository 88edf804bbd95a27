"""Whom a caller believes, whom it shows what, and what it says where the two ends do not take each other."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fedtier.problems import Problem
from fedtier.rounds import BaseRound
from fedtier.serving.front.exchange import PLAIN_HTTP, refusal
from fedtier.tls import NO_TLS, Tls, server_context
from fedtier.upstream import NotTrusted, Unreachable, Upstream
from tests.authorities import HOST, Authority
from tests.client.loopback import Reply, Request, serve
from tests.fedtier.test_upstream import raw_server

MODEL = b"model"


def ready(_: Request) -> Reply:
    return Reply(200, b"{}")


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    """The authority that signs the certificates of the federation."""
    return Authority(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "theirs")


@pytest.fixture(autouse=True)
def nothing_else_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def asks(url: str, tls: Tls) -> None:
    with Upstream(url, tls=tls) as upstream:
        assert upstream.unready() is None


def is_refused(url: str, tls: Tls, words: str) -> None:
    with Upstream(url, tls=tls) as upstream, pytest.raises(NotTrusted, match=words):
        upstream.unready()


# The server's certificate


def test_a_server_is_believed_by_its_authority(ours: Authority) -> None:
    with serve(ready, tls=server_context(ours.tls(HOST))) as url:
        asks(url, ours.believed)


def test_a_server_is_verified_unless_told_otherwise_and_nothing_tells_otherwise(ours: Authority) -> None:
    with serve(ready, tls=server_context(ours.tls(HOST))) as url:
        is_refused(url, NO_TLS, r"not signed by an authority that is trusted here .* by --ca-certs")
        is_refused(url, Tls(plain_http=True), "not signed by an authority that is trusted here")


def test_a_server_of_another_authority_is_not_believed(ours: Authority, theirs: Authority) -> None:
    with serve(ready, tls=server_context(theirs.tls(HOST))) as url:
        is_refused(url, ours.believed, rf"the certificate of {url} is not signed by an authority .* --ca-certs")


@pytest.mark.parametrize("names", [("127.0.0.2",), ("example.org",), ()])
def test_a_server_with_another_name_is_not_believed(ours: Authority, names: tuple[str, ...]) -> None:
    with serve(ready, tls=server_context(ours.tls(*names, common=HOST))) as url:
        is_refused(url, ours.believed, rf"the certificate of {url} is for another name .* use an address that it names")


def test_a_server_whose_certificate_has_expired_is_not_believed(ours: Authority) -> None:
    with serve(ready, tls=server_context(ours.tls(HOST, days=-1))) as url:
        is_refused(url, ours.believed, rf"the certificate of {url} has expired; have it renewed")


def test_old_versions_of_tls_are_not_spoken(ours: Authority) -> None:
    context = server_context(ours.tls(HOST))
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed_with_a_certificate_of_before(ours: Authority, version: ssl.TLSVersion) -> None:
    tls = ours.tls("client-3", file="client")
    context = ssl.create_default_context(cafile=str(ours.certificate))
    context.maximum_version = version
    context.load_cert_chain(*(tls.pair or ()))

    def session_of(port: int, before: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
        with (
            socket.create_connection((HOST, port)) as plain,
            context.wrap_socket(plain, server_hostname=HOST, session=before) as connection,
        ):
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while connection.recv(1 << 16):
                pass
            return connection.session, connection.session_reused

    with serve(ready, tls=demanding(ours)) as url:
        port = urlsplit(url).port or 0
        session, _ = session_of(port, None)
        assert session_of(port, session)[1] is False


# What the environment says


def test_authorities_that_are_named_go_before_those_of_the_environment(
    ours: Authority, theirs: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(theirs.certificate))
    with serve(ready, tls=server_context(ours.tls(HOST))) as url:
        asks(url, ours.believed)
        is_refused(url, NO_TLS, "not signed by an authority that is trusted here")
    with serve(ready, tls=server_context(theirs.tls(HOST))) as url:
        asks(url, NO_TLS)
        is_refused(url, ours.believed, "not signed by an authority that is trusted here")


def test_what_is_asked_of_this_machine_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take the token beyond this machine, in plain, and has a loopback of its own."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.2:9")
    with serve(ready) as url:
        asks(url, NO_TLS)
        with serve(lambda _: Reply(307, b"", {"Location": url + "/elsewhere"})) as first:
            asks(first, NO_TLS)


def test_an_address_in_capitals_is_the_same_address(
    ours: Authority, theirs: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(theirs.certificate))
    with serve(ready, tls=server_context(theirs.tls(HOST))) as url:
        is_refused(url.replace("https", "HTTPS"), ours.believed, "not signed by an authority that is trusted here")


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_the_environment_cannot_turn_verification_off(
    ours: Authority, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PYTHONHTTPSVERIFY"):
        monkeypatch.setenv(name, value)
    with serve(ready, tls=server_context(ours.tls(HOST))) as url:
        with Upstream(url) as upstream, pytest.raises(Unreachable):
            upstream.unready()
        asks(url, ours.believed)


# The caller's certificate


def demanding(authority: Authority) -> ssl.SSLContext:
    """Return a server that connects nobody without a certificate, as proxies do."""
    context = server_context(authority.tls(HOST, file="server"), client_certs=True)
    assert context is not None
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_a_certificate_is_shown_ours(
    ours: Authority, theirs: Authority, version: ssl.TLSVersion
) -> None:
    context = demanding(ours)
    context.maximum_version = version
    with serve(ready, tls=context) as url:
        asks(url, ours.tls("client-3", file="client"))
        is_refused(url, ours.believed, rf"{url} wants a certificate .* by --certfile and --keyfile")
        is_refused(
            url, ours.tls("client-3", days=-1, file="old"), rf"{url} does not take this program's certificate .*expired"
        )
        foreign = Tls(*theirs.pair("client-3"), ours.certificate)
        is_refused(url, foreign, rf"{url} does not know the authority that signed this program's certificate")


def test_a_server_of_ours_connects_whoever_shows_nothing_but_nobody_with_a_bad_certificate(
    ours: Authority, theirs: Authority
) -> None:
    with serve(ready, tls=server_context(ours.tls(HOST, file="server"), client_certs=True)) as url:
        asks(url, ours.believed)
        foreign = Tls(*theirs.pair("client-3"), ours.certificate)
        is_refused(url, foreign, "does not know the authority that signed this program's certificate")


def test_own_files_that_are_gone_are_named(ours: Authority) -> None:
    tls = ours.tls("client-3", file="client")
    assert tls.certfile is not None
    with serve(ready, tls=server_context(ours.tls(HOST, file="server"))) as url:
        tls.certfile.unlink()
        is_refused(url, tls, rf"{tls.certfile}; put the file back")


# No TLS, or TLS for one end only


def test_a_server_without_tls_is_told_from_one_that_is_not_believed(ours: Authority) -> None:
    with serve(ready) as url:
        is_refused(url.replace("http", "https"), ours.believed, "does not speak TLS; give that server a certificate")


def test_plain_http_to_a_server_with_tls_fails(ours: Authority) -> None:
    with (
        serve(ready, tls=server_context(ours.tls(HOST))) as url,
        Upstream(url.replace("https", "http")) as upstream,
        pytest.raises(Unreachable),
    ):
        upstream.unready()


def test_an_alert_of_tls_in_answer_to_plain_http_is_understood() -> None:
    with raw_server(bytes.fromhex("15030100020246")) as url:
        is_refused(url, NO_TLS, f"{url} speaks TLS; write its address with https://")


def test_the_word_of_a_server_with_tls_for_plain_http_is_understood() -> None:
    with raw_server(refusal(PLAIN_HTTP)) as url:
        is_refused(url, NO_TLS, f"{url} speaks TLS; write its address with https://")


def test_nothing_plain_leaves_this_machine_unless_it_is_meant() -> None:
    is_refused("http://192.0.2.1:5000", NO_TLS, r"http://192.0.2.1:5000, which is plain HTTP .* give --plain-http")


# Redirects, as to a presigned URL of S3


def fetched(url: str, tls: Tls, folder: Path) -> bytes:
    base = BaseRound(round=6, sha256=hashlib.sha256(MODEL).hexdigest(), bytes=len(MODEL), url="/v1/rounds/6/model")
    with Upstream(url, token=lambda: "secret", tls=tls) as upstream:
        upstream.download_model(base, folder / "fetched")
    return (folder / "fetched").read_bytes()


def to(place: str) -> Callable[[Request], Reply]:
    return lambda _: Reply(307, b"", {"Location": f"{place}/bucket/model?X-Amz-Signature=secret"})


def model(_: Request) -> Reply:
    return Reply(200, MODEL)


@pytest.mark.parametrize("in_environment", [True, False])
def test_a_redirect_is_followed_to_servers_of_our_authority_and_of_those_that_are_believed_anyway(
    in_environment: bool, ours: Authority, theirs: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signer = theirs if in_environment else ours
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(theirs.certificate))
    with (
        serve(model, tls=server_context(signer.tls(HOST, file="s3"))) as s3,
        serve(to(s3), tls=server_context(ours.tls(HOST, file="server"))) as url,
    ):
        assert fetched(url, ours.believed, tmp_path) == MODEL


def test_a_redirect_to_a_server_that_is_not_believed_is_not_followed(
    ours: Authority, theirs: Authority, tmp_path: Path
) -> None:
    with (
        serve(model, tls=server_context(theirs.tls(HOST))) as s3,
        serve(to(s3), tls=server_context(ours.tls(HOST))) as url,
        pytest.raises(NotTrusted, match=f"the certificate of {s3} is not signed") as caught,
    ):
        fetched(url, ours.believed, tmp_path)
    assert "secret" not in str(caught.value)


def test_whoever_we_are_redirected_to_is_not_shown_who_we_are(ours: Authority, tmp_path: Path) -> None:
    own = ours.tls("client-3", file="client")
    with (
        serve(model, tls=demanding(ours)) as s3,
        serve(to(s3), tls=server_context(ours.tls(HOST), client_certs=True)) as url,
        pytest.raises(NotTrusted, match=f"{s3} wants a certificate"),
    ):
        fetched(url, own, tmp_path)


def test_a_redirect_from_tls_to_plain_http_is_followed_only_where_that_is_meant(
    ours: Authority, tmp_path: Path
) -> None:
    with serve(model) as s3, serve(to(s3), tls=server_context(ours.tls(HOST))) as url:
        with pytest.raises(NotTrusted, match=f"{url} sends on to {s3}, which is plain HTTP") as caught:
            fetched(url, ours.believed, tmp_path)
        assert "secret" not in str(caught.value)
        assert fetched(url, Tls(ca_certs=ours.certificate, plain_http=True), tmp_path) == MODEL


def test_a_presigned_url_is_not_named_whole_where_its_server_refuses(ours: Authority, tmp_path: Path) -> None:
    with (
        serve(lambda _: Reply(403)) as s3,
        serve(to(s3)) as url,
        pytest.raises(Problem, match=f"{s3}/bucket/model answered 403") as caught,
    ):
        fetched(url, NO_TLS, tmp_path)
    assert "secret" not in str(caught.value)


# Renewal


def test_a_server_shows_a_renewed_certificate_to_whoever_connects_next(ours: Authority) -> None:
    tls = ours.tls(HOST, days=-1)
    with serve(ready, tls=server_context(tls)) as url:
        is_refused(url, ours.believed, "has expired")
        assert ours.pair(HOST) == tls.pair  # written anew
        asks(url, ours.believed)


def test_a_half_renewed_certificate_is_not_shown(ours: Authority) -> None:
    tls = ours.tls(HOST)
    assert tls.certfile is not None
    before = tls.certfile.read_bytes()
    with serve(ready, tls=server_context(tls)) as url:
        other, _ = ours.pair(HOST, file="other")
        tls.certfile.write_bytes(other.read_bytes())
        asks(url, ours.believed)
        tls.certfile.unlink()
        asks(url, ours.believed)
        tls.certfile.write_bytes(before)
        asks(url, ours.believed)


def test_a_server_believes_renewed_authorities(ours: Authority, theirs: Authority) -> None:
    tls = ours.tls(HOST, file="server")
    with serve(ready, tls=server_context(tls, client_certs=True)) as url:
        newcomer = Tls(*theirs.pair("client-3"), ours.certificate)
        trusting = ours.certificate.read_bytes()
        is_refused(url, newcomer, "does not know the authority")
        ours.certificate.write_bytes(trusting + theirs.certificate.read_bytes())
        asks(url, newcomer)
        ours.certificate.write_bytes(trusting)
        is_refused(url, newcomer, "does not know the authority")


def test_a_caller_shows_a_renewed_certificate_with_its_next_connection(ours: Authority) -> None:
    tls = ours.tls("client-3", days=-1, file="client")
    with serve(ready, tls=demanding(ours)) as url, Upstream(url, tls=tls) as upstream:
        with pytest.raises(NotTrusted, match="expired"):
            upstream.unready()
        ours.pair("client-3", file="client")
        assert upstream.unready() is None


def test_a_caller_believes_renewed_authorities_with_its_next_connection(ours: Authority, theirs: Authority) -> None:
    with serve(ready, tls=server_context(theirs.tls(HOST))) as url, Upstream(url, tls=ours.believed) as upstream:
        with pytest.raises(NotTrusted):
            upstream.unready()
        ours.certificate.write_bytes(theirs.certificate.read_bytes())
        assert upstream.unready() is None
