"""A token that was verified is remembered, and is good for no moment longer than one that is verified anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.problems import Unauthenticated
from fedtier.tokens import LEEWAY, Bearer, TokenVerifier, generate_keys, make_token
from fedtier.verified_tokens import VerifiedTokens
from tests.masters import wait_until

CLIENT = Bearer("client", "client-3")
SIGNING, PUBLIC = generate_keys()


def token(*, lifetime: timedelta = timedelta(days=1)) -> str:
    return make_token(SIGNING, CLIENT, now=datetime.now(UTC) - timedelta(days=1), lifetime=lifetime + timedelta(days=1))


def test_a_signature_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = jwt.decode

    def counting(text: str, *args: Any, **options: Any) -> Any:
        decoded.append(text)
        return decode(text, *args, **options)

    monkeypatch.setattr(jwt, "decode", counting)
    verifier, known, other = TokenVerifier([PUBLIC]), token(), token(lifetime=timedelta(days=2))

    assert [verifier.verify(text) for text in (known, known, other, known)] == [CLIENT] * 4
    assert decoded == [known, other]


def test_a_verifier_with_other_keys_or_revocations_knows_nothing_of_it() -> None:
    text = token()
    assert TokenVerifier([PUBLIC]).verify(text) == CLIENT
    with pytest.raises(Unauthenticated, match="revoked"):
        TokenVerifier([PUBLIC], revoked={"client-3": datetime.now(UTC).timestamp()}).verify(text)
    with pytest.raises(Unauthenticated, match="a key that this server does not know"):
        TokenVerifier([generate_keys()[1]]).verify(text)


def test_what_is_refused_is_not_remembered() -> None:
    verifier, forged = TokenVerifier([PUBLIC]), token()[:-4] + "AAAA"
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            verifier.verify(forged)


def test_a_remembered_token_expires() -> None:
    verifier, ending = TokenVerifier([PUBLIC]), token(lifetime=timedelta(seconds=3) - LEEWAY)
    assert verifier.verify(ending) == CLIENT

    def has_expired() -> bool:
        try:
            verifier.verify(ending)
        except Unauthenticated as refused:
            return "it has expired" in refused.detail
        return False

    wait_until(has_expired)


@given(st.integers(-200, 200), st.integers(-200, 200), st.integers(-200, 200), st.integers(-200, 200))
def test_its_times_are_those_of_the_token_with_the_leeway(begins: int, not_before: int, ends: int, now: int) -> None:
    verified = VerifiedTokens[str](leeway=60)
    verified.add("token", "bearer", {"iat": 1000 + begins, "nbf": 1000 + not_before, "exp": 1000 + ends})
    is_good = max(begins, not_before) <= now + 60 and now - 60 < ends
    assert verified.find("token", 1000 + now) == ("bearer" if is_good else None)


def test_another_token_is_not_the_one_that_is_known() -> None:
    verified = VerifiedTokens[str](leeway=0)
    verified.add("one", "bearer", {"exp": 10})
    assert [verified.find(text, 0) for text in ("one", "One", "one ", "\udc80", "")] == ["bearer", *[None] * 4]


def test_so_many_are_remembered_and_no_more() -> None:
    verified = VerifiedTokens[str](leeway=0, most=3)
    for number in range(5):
        verified.add(f"token-{number}", f"bearer-{number}", {"exp": 10})
    assert len(verified) == 3
    assert [verified.find(f"token-{number}", 0) for number in range(5)] == [
        None,
        None,
        *(f"bearer-{n}" for n in (2, 3, 4)),
    ]
