from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fedtier.problems import Forbidden, StartupError, Unauthenticated
from fedtier.serving.access import Gate, require, require_loopback
from fedtier.tokens import Bearer, Role, TokenVerifier, generate_keys, make_token

PRIVATE, PUBLIC = generate_keys()
GATE = Gate(TokenVerifier([PUBLIC]))


def header(role: Role = "client", subject: str = "client-3", *, key: bytes = PRIVATE, days: float = 1) -> str:
    signed = make_token(key, Bearer(role, subject), now=datetime.now(UTC), lifetime=timedelta(days=days))
    return f"Bearer {signed}"


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
    with pytest.raises(Forbidden, match="'client'; this needs operator"):
        require(Bearer("client", "client-3"), roles={"operator"})
    with pytest.raises(Forbidden, match="'client-3', not for 'client-4'"):
        require(Bearer("client", "client-3"), roles={"client"}, subject="client-4")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    require_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org", "", "127.0.0.1.example.org"])
def test_beyond_loopback_needs_keys(host: str) -> None:
    with pytest.raises(StartupError, match="FEDTIER_VERIFY_KEYS"):
        require_loopback(host)
