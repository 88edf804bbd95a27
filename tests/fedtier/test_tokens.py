"""Tokens: good for who they name until they expire, from the keys a server knows, and in no other way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtier.claims import DEFAULT_AUDIENCE, unverified_claims
from fedtier.problems import StartupError, Unauthenticated
from fedtier.tokens import (
    LEEWAY,
    LONGEST,
    ROLES,
    Bearer,
    Role,
    TokenVerifier,
    generate_keys,
    key_id,
    make_token,
    public_key_of,
)

CLIENT = Bearer("client", "client-3")
DAY = timedelta(days=1)
SIGNING, PUBLIC = generate_keys()
[KEY_ID] = TokenVerifier([PUBLIC]).key_ids
OTHER_SIGNING, OTHER_PUBLIC = generate_keys()


def token(signing: bytes = SIGNING, bearer: Bearer = CLIENT, *, lifetime: timedelta = DAY) -> str:
    return make_token(signing, bearer, now=datetime.now(UTC), lifetime=lifetime)


def signed(key: bytes = SIGNING, **changes: Any) -> str:
    """Return a token with claims that `make_token` would not write; None leaves one out."""
    claims = {"role": "client", "sub": "client-3", "aud": DEFAULT_AUDIENCE, "exp": datetime.now(UTC) + DAY, **changes}
    kept = {name: claim for name, claim in claims.items() if claim is not None}
    return jwt.encode(kept, key, algorithm="EdDSA", headers={"kid": KEY_ID})


def refusal(text: str, *keys: bytes) -> str:
    with pytest.raises(Unauthenticated, match="the token is not valid: ") as refused:
        TokenVerifier(keys or (PUBLIC,)).verify(text)
    return refused.value.detail


def encoded(part: Any) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("role", ROLES)
def test_a_token_says_who_its_bearer_is(role: Role) -> None:
    bearer = Bearer(role, "somebody")
    assert TokenVerifier([PUBLIC]).verify(token(bearer=bearer)) == bearer


def test_an_expired_token_is_refused() -> None:
    assert "has expired; sign another with fedtier token" in refusal(token(lifetime=-2 * LEEWAY))


def test_clocks_may_differ_by_less_than_a_minute() -> None:
    now, verifier = datetime.now(UTC), TokenVerifier([PUBLIC])
    for signed_at in (now + LEEWAY / 2, now - DAY - LEEWAY / 2):
        assert verifier.verify(make_token(SIGNING, CLIENT, now=signed_at, lifetime=DAY)) == CLIENT
    early = make_token(SIGNING, CLIENT, now=now + 2 * LEEWAY, lifetime=DAY)
    assert "compare the clocks" in refusal(early)


def test_a_token_is_good_in_its_own_federation_alone() -> None:
    of_one = make_token(SIGNING, CLIENT, now=datetime.now(UTC), lifetime=DAY, audience="hospitals")
    assert TokenVerifier([PUBLIC], audience="hospitals").verify(of_one) == CLIENT
    assert "it is for another federation; this server takes those for 'fedtier' (--audience)" in refusal(of_one)
    with pytest.raises(Unauthenticated, match="takes those for 'hospitals'"):
        TokenVerifier([PUBLIC], audience="hospitals").verify(token())


def test_a_key_is_named_as_the_rfc_names_it() -> None:
    # RFC 8037, appendix A.2 and A.3.
    point = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    assert key_id(Ed25519PublicKey.from_public_bytes(point)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert jwt.get_unverified_header(token())["kid"] == KEY_ID


def test_a_token_that_names_no_key_is_tried_with_each() -> None:
    both = TokenVerifier([generate_keys()[1], PUBLIC])
    assert both.verify(jwt.encode(unverified_claims(token()), SIGNING, algorithm="EdDSA")) == CLIENT
    strange = jwt.encode(unverified_claims(token()), OTHER_SIGNING, algorithm="EdDSA")
    assert "does not know" in refusal(strange)


@pytest.mark.parametrize("name", [1, True, [], {}])
def test_a_key_whose_name_is_no_text_is_refused(name: object) -> None:
    _, claims, signature = token().split(".")
    assert "is no text" in refusal(f"{encoded({'alg': 'EdDSA', 'kid': name})}.{claims}.{signature}")


def test_a_token_that_names_another_key_is_refused() -> None:
    renamed = jwt.encode(unverified_claims(token()), SIGNING, algorithm="EdDSA", headers={"kid": "x"})
    assert "does not know" in refusal(renamed)
    borrowed = jwt.encode(unverified_claims(token()), OTHER_SIGNING, algorithm="EdDSA", headers={"kid": KEY_ID})
    assert "does not know" in refusal(borrowed)


def test_a_token_that_is_too_long_is_refused_though_it_is_signed() -> None:
    long = signed(more="x" * LONGEST)
    assert refusal(long).endswith(f"it has {len(long)} characters, more than {LONGEST}")
    head, claims, signature = token().split(".")
    assert "its header has 600 characters" in refusal(f"{head:A<600}.{claims}.{signature}")


def test_a_public_key_comes_out_of_its_signing_key() -> None:
    assert public_key_of(SIGNING) == PUBLIC


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "a..c", "a.W10.c", "a.é.c", "[" * 5000])
def test_what_is_no_token_claims_nothing(text: str) -> None:
    assert unverified_claims(text) == {}


def test_a_token_of_an_unknown_key_is_refused() -> None:
    assert "does not know" in refusal(token(OTHER_SIGNING))


@pytest.mark.parametrize("keys", [[PUBLIC, OTHER_PUBLIC], [OTHER_PUBLIC, PUBLIC], [PUBLIC + OTHER_PUBLIC]])
def test_while_keys_are_rotated_both_are_good(keys: list[bytes]) -> None:
    verifier = TokenVerifier(keys)
    assert verifier.verify(token(SIGNING)) == verifier.verify(token(OTHER_SIGNING)) == CLIENT
    with pytest.raises(Unauthenticated, match="expired"):
        verifier.verify(token(OTHER_SIGNING, lifetime=-DAY))
    with pytest.raises(Unauthenticated, match="does not know"):
        verifier.verify(token(generate_keys()[0]))


def test_a_key_that_was_removed_is_no_longer_good() -> None:
    assert "does not know" in refusal(token(SIGNING), OTHER_PUBLIC)


@pytest.mark.parametrize(
    "changes",
    [
        *({"aud": aud} for aud in ("another", "", ["another"], None, 5)),
        *({"role": role} for role in ("root", "", None, 5, ["client"], {"client": 1})),
        *(
            {"sub": name}
            for name in ("", " ", "a b", "a#b", "a\n", "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "a" * 256)
        ),
        *({"sub": None}, {"sub": 5}, {"sub": ["client-3"]}),
        *({"exp": None}, {"exp": "tomorrow"}, {"exp": -1}),
        {"nbf": 1 << 40},
    ],
    ids=str,
)
def test_claims_that_are_missing_or_wrong_are_refused(changes: dict[str, Any]) -> None:
    assert TokenVerifier([PUBLIC]).verify(signed()) == CLIENT
    refusal(signed(**changes))


def test_a_token_without_signature_is_refused() -> None:
    claims = {"role": "operator", "sub": "me", "aud": DEFAULT_AUDIENCE, "exp": 1 << 40}
    for algorithm in ("none", "None", "NONE"):
        for signature in ("", encoded(bytes(64))):
            refusal(f"{encoded({'alg': algorithm, 'typ': 'JWT', 'kid': KEY_ID})}.{encoded(claims)}.{signature}")


@pytest.mark.parametrize("secret", [PUBLIC, PUBLIC.strip(), b""])
def test_the_public_key_is_no_shared_secret(secret: bytes) -> None:
    claims = {"role": "operator", "sub": "me", "aud": DEFAULT_AUDIENCE, "exp": 1 << 40}
    text = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': KEY_ID})}.{encoded(claims)}"
    signature = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    refusal(f"{text}.{encoded(signature)}")


def test_a_changed_token_is_refused() -> None:
    header, claims, signature = token().split(".")
    other = encoded({"role": "operator", "sub": "me", "aud": DEFAULT_AUDIENCE, "exp": 1 << 40})
    refusal(f"{header}.{other}.{signature}")
    refusal(f"{header}.{claims}.{signature[:-4]}")
    refusal(f"{header}.{claims}.")
    refusal(f"{header}.{claims}.{encoded(bytes(64))}")


@pytest.mark.parametrize(
    "text",
    [
        encoded(b'{"a":' + b"[" * 300),
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "Bearer",
        "\ud800",
        "é",
        "e30.e30.e30",
        "[" * 5000,
        "a" * 10**5,
    ],
)
def test_garbage_is_refused(text: str) -> None:
    refusal(text)


@given(st.text(st.characters(codec="latin-1"), max_size=80))
@settings(max_examples=100, deadline=None)
def test_no_header_field_brings_the_verifier_down(text: str) -> None:
    refusal(text)
    refusal(f"{encoded(text.encode())}.{encoded(text.encode())}.{encoded(bytes(64))}")
    refusal(f"{encoded({'alg': 'EdDSA', 'kid': KEY_ID})}.{encoded(text.encode())}.{encoded(bytes(64))}")


odd = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda v: st.lists(v, max_size=2))


@given(st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "zip"]), odd | st.just("EdDSA")))
@settings(max_examples=100, deadline=None)
def test_no_header_of_a_token_brings_the_verifier_down(header: dict[str, Any]) -> None:
    refusal(f"{encoded({**header, 'kid': KEY_ID})}.{encoded({})}.{encoded(bytes(64))}")
    refusal(f"{encoded(header)}.{encoded({})}.{encoded(bytes(64))}")


def test_keys_come_in_pem() -> None:
    assert SIGNING.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert PUBLIC.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert SIGNING != OTHER_SIGNING


def elliptic_pair() -> tuple[bytes, bytes]:
    private = generate_private_key(SECP256R1())
    return (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


def of_unknown_algorithm(pem: bytes) -> bytes:
    """Return a key in PEM whose algorithm, 1.3.101.112, is replaced by one that does not exist."""
    lines = pem.decode().strip().split("\n")
    der = base64.b64decode("".join(lines[1:-1]))
    assert b"\x2b\x65\x70" in der
    return "\n".join(
        [lines[0], base64.b64encode(der.replace(b"\x2b\x65\x70", b"\x2b\x65\x7f")).decode(), lines[-1]]
    ).encode()


@pytest.mark.parametrize(
    "key", [b"", b"key", PUBLIC, elliptic_pair()[0], of_unknown_algorithm(SIGNING), SIGNING[:60]], ids=range(6)
)
def test_a_signing_key_of_another_kind_is_refused_at_start(key: bytes) -> None:
    with pytest.raises(StartupError, match="not an Ed25519 private key in PEM; make one with: fedtier keygen DIR"):
        make_token(key, CLIENT, now=datetime.now(UTC), lifetime=DAY)


@pytest.mark.parametrize(
    "key", [b"key", SIGNING, elliptic_pair()[1], of_unknown_algorithm(PUBLIC), PUBLIC[:40], PUBLIC + b"x"], ids=range(6)
)
def test_a_verify_key_of_another_kind_is_refused_at_start(key: bytes) -> None:
    with pytest.raises(StartupError, match="not an Ed25519 public key in PEM; make a pair with: fedtier keygen DIR"):
        TokenVerifier([PUBLIC, key])


@pytest.mark.parametrize("keys", [[], [b""], [b" \n"]])
def test_a_server_that_checks_tokens_needs_a_key(keys: list[bytes]) -> None:
    with pytest.raises(StartupError, match="no public key found"):
        TokenVerifier(keys)


def test_a_header_that_is_nested_deeply_is_a_token_that_is_not_valid() -> None:
    nested = base64.urlsafe_b64encode(b"[" * 6000).decode().rstrip("=")
    with pytest.raises(Unauthenticated):
        TokenVerifier([PUBLIC]).verify(f"{nested}.e30.c2ln")
