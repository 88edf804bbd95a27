from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fedtier.problems import Forbidden, StartupError, Unauthenticated
from fedtier.serving.access import Gate, require, require_guard
from fedtier.tls import NO_TLS, Tls
from fedtier.tokens import Bearer, Role, TokenVerifier, generate_keys
from tests.tokens import signed

PRIVATE, PUBLIC = generate_keys()
GATE = Gate(TokenVerifier([PUBLIC]))
STRICT = Gate(TokenVerifier([PUBLIC]), client_certs=True)
WITH_TLS = Tls(certfile=Path("certificate.pem"))


def header(role: Role = "client", subject: str = "client-3", *, key: bytes = PRIVATE, days: float = 1) -> str:
    return f"Bearer {signed(key, role, subject, lifetime=timedelta(days=days))}"


def test_without_keys_anyone_may() -> None:
    assert Gate(None).identify(None) is None
    require(None, roles={"operator"})


def test_a_good_token_says_who_asks() -> None:
    assert GATE.identify(header()) == Bearer("client", "client-3")
    assert GATE.identify("bearer  " + header().removeprefix("Bearer ")) == Bearer("client", "client-3")


@pytest.mark.parametrize("field", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer x.y.z", "Bearer ä"])
def test_no_token_is_unauthenticated(field: str | None) -> None:
    with pytest.raises(Unauthenticated):
        GATE.identify(field)


def test_an_expired_token_and_one_of_another_key_are_unauthenticated() -> None:
    with pytest.raises(Unauthenticated):
        GATE.identify(header(days=-1))
    with pytest.raises(Unauthenticated):
        GATE.identify(header(key=generate_keys()[0]))


def test_a_token_for_something_else_is_forbidden() -> None:
    require(Bearer("client", "client-3"), roles={"client"}, subject="client-3")
    with pytest.raises(Forbidden, match="'client', and this needs operator"):
        require(Bearer("client", "client-3"), roles={"operator"})
    with pytest.raises(Forbidden, match="'client-3', not for 'client-4'"):
        require(Bearer("client", "client-3"), roles={"client"}, subject="client-4")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_needs_neither_keys_nor_tls(host: str) -> None:
    require_guard(host, has_keys=False, tls=NO_TLS, client_certs=False)


BEYOND = pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org", "", "127.0.0.1.example.org"])


@BEYOND
def test_beyond_loopback_needs_keys(host: str) -> None:
    for tls in (NO_TLS, WITH_TLS, Tls(plain_http=True)):
        with pytest.raises(StartupError, match="FEDTIER_VERIFY_KEYS"):
            require_guard(host, has_keys=False, tls=tls, client_certs=False)


@BEYOND
def test_beyond_loopback_needs_tls_or_a_flag_that_says_that_plain_http_is_meant(host: str) -> None:
    with pytest.raises(StartupError, match=r"give --certfile and --keyfile, or --plain-http .* or use --host 127"):
        require_guard(host, has_keys=True, tls=NO_TLS, client_certs=False)
    require_guard(host, has_keys=True, tls=WITH_TLS, client_certs=False)
    require_guard(host, has_keys=True, tls=Tls(plain_http=True), client_certs=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_client_certificates_need_the_tokens_that_they_are_compared_with(host: str) -> None:
    with pytest.raises(StartupError, match=r"--require-client-certs compares .* FEDTIER_VERIFY_KEYS"):
        require_guard(host, has_keys=False, tls=WITH_TLS, client_certs=True)


def certificate(*, common: str | None = None, **alternative: str) -> dict[str, Any]:
    """Return a certificate as `ssl` shows it."""
    subject = ((("organizationName", "client-3"),), *([(("commonName", common),)] if common else []))
    return {"subject": subject, "subjectAltName": tuple(alternative.items())}


@pytest.mark.parametrize(
    "shown",
    [
        certificate(common="client-3"),
        certificate(DNS="client-3"),
        certificate(URI="client-3"),
        certificate(common="somebody", DNS="client-3"),
    ],
)
def test_a_token_is_good_with_a_certificate_that_names_its_subject(shown: dict[str, Any]) -> None:
    assert STRICT.identify(header(), shown) == Bearer("client", "client-3")


@pytest.mark.parametrize(
    "shown",
    [
        certificate(common="client-4"),
        certificate(common="Client-3"),
        certificate(DNS="*"),
        certificate(DNS="client-3.example.org"),
        certificate(email="client-3"),
        certificate(),
        {},
        None,
    ],
)
def test_a_token_with_a_certificate_of_somebody_else_or_none_is_forbidden(shown: dict[str, Any] | None) -> None:
    with pytest.raises(Forbidden, match=r"the token is for 'client-3', and .* certificate"):
        STRICT.identify(header(), shown)


def test_a_certificate_without_a_token_is_not_enough() -> None:
    with pytest.raises(Unauthenticated):
        STRICT.identify(None, certificate(common="client-3"))
