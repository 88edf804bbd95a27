"""Signed tokens: JSON Web Tokens with Ed25519, so that servers hold public keys only.

A token says who its bearer is (``role`` and ``sub``), in which federation (``aud``) and until
when (``exp``). Keys are PEM files made by ``fedtier keygen``; a verifier takes several, so that
keys can be rotated, and finds the one of a token by the ``kid`` in its header.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Protocol, TypeAlias

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fedtier.claims import DEFAULT_AUDIENCE, json_part
from fedtier.problems import StartupError, Unauthenticated
from fedtier.verified_tokens import VerifiedTokens

Role: TypeAlias = Literal["client", "worker", "operator"]
ROLES: Final[tuple[Role, ...]] = ("client", "worker", "operator")
LEEWAY: Final = timedelta(seconds=60)
"""How far the clocks of who signs and who verifies may differ: a token is good so much earlier and longer."""
LONGEST: Final = 4096
"""Characters of a token; those that are made here have about 300."""
_LONGEST_HEADER: Final = 512
_ALGORITHM: Final = "EdDSA"
_SUBJECT: Final = re.compile(r'[!"$-~]{1,255}')
"""Names that a line of `fedtier.revocations` can hold, and that look like themselves in a log."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who presents a token: a role, and the subject's name (a client's id)."""

    role: Role
    subject: str


class Verifier(Protocol):
    """Says who the bearer of a token is."""

    def verify(self, token: str) -> Bearer:
        """Return who the bearer of a token is, or raise `Unauthenticated`."""
        ...


def generate_keys() -> tuple[bytes, bytes]:
    """Return a new signing key and its public key, both as PEM."""
    private = Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), _pem(private.public_key())


def public_key_of(signing_key: bytes) -> bytes:
    """Return the public key of a signing key, both as PEM.

    Raises
    ------
    StartupError
        The key is not an Ed25519 private key in PEM.
    """
    return _pem(_private_key(signing_key).public_key())


def key_id(public_key: Ed25519PublicKey) -> str:
    """Return the name of a key: the thumbprint of RFC 7638, as RFC 8037 (appendix A.3) has it for Ed25519."""
    point = _base64url(public_key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return _base64url(hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{point}"}}'.encode()).digest())


def make_token(
    signing_key: bytes, bearer: Bearer, *, now: datetime, lifetime: timedelta, audience: str = DEFAULT_AUDIENCE
) -> str:
    """Sign a token.

    Parameters
    ----------
    signing_key : bytes
        Ed25519 private key as PEM.
    bearer : Bearer
    now : datetime
        With a time zone.
    lifetime : timedelta
    audience : str
        The federation's name; other federations refuse the token.

    Raises
    ------
    StartupError
        The key is not an Ed25519 private key in PEM.
    """
    key = _private_key(signing_key)
    claims = {
        "role": bearer.role,
        "sub": bearer.subject,
        "aud": audience,
        "iat": now.astimezone(UTC),
        "exp": (now + lifetime).astimezone(UTC),
    }
    return jwt.encode(claims, key, algorithm=_ALGORITHM, headers={"kid": key_id(key.public_key())})


class TokenVerifier:
    """Checks tokens against public keys.

    What names a key that is not there is refused before any of it is computed with. What names
    none, as other programs may sign it, is tried with every key. A token that was good is remembered:
    when it comes again, only its times are looked at.

    Parameters
    ----------
    public_keys : sequence of bytes
        PEM blocks; each may hold several keys. A token signed by any of them is good.
    audience : str
        The federation's name; tokens for others are refused.
    revoked : Mapping of str to float, optional
        Subjects, and the time before which their tokens were signed that are refused, in seconds since 1970.

    Raises
    ------
    StartupError
        There is no key, or one is not an Ed25519 public key.
    """

    def __init__(
        self,
        public_keys: Sequence[bytes],
        *,
        audience: str = DEFAULT_AUDIENCE,
        revoked: Mapping[str, float] | None = None,
    ) -> None:
        keys = [_public_key(block) for pem in public_keys for block in _pem_blocks(pem)]
        if not keys:
            raise StartupError("no public key found to verify tokens with; make a pair with: fedtier keygen DIR")
        self._keys = {key_id(key): key for key in keys}
        self._audience = audience
        self._revoked = dict(revoked or {})
        self._verified: VerifiedTokens[Bearer] = VerifiedTokens(leeway=LEEWAY.total_seconds())

    @property
    def key_ids(self) -> list[str]:
        """The names of the keys."""
        return sorted(self._keys)

    @property
    def revoked_subjects(self) -> int:
        """How many subjects have tokens that are refused."""
        return len(self._revoked)

    def verify(self, token: str) -> Bearer:
        """Return who the bearer of a token is.

        Raises
        ------
        Unauthenticated
            The token is malformed, too long, expired, revoked, for another audience, or signed by another key.
        """
        if len(token) > LONGEST:
            raise _invalid(f"it has {len(token)} characters, more than {LONGEST}")
        known = self._verified.find(token, time.time())
        return self._verify(token) if known is None else known

    def _verify(self, token: str) -> Bearer:
        claims = self._claims(token)
        if claims["role"] not in ROLES:
            raise _invalid("its role is unknown")
        if not _SUBJECT.fullmatch(claims["sub"]):
            raise _invalid("its subject is no name of 1 to 255 ASCII characters without white space and #")
        if claims["sub"] in self._revoked and not _signed_at(claims) >= self._revoked[claims["sub"]]:
            raise _invalid(f"the tokens of {claims['sub']!r} are revoked; ask the federation's operator for another")
        bearer = Bearer(claims["role"], claims["sub"])
        self._verified.add(token, bearer, claims)
        return bearer

    def _claims(self, token: str) -> dict[str, Any]:
        name = _named_key(token)
        for key in self._keys.values() if name is None else filter(None, [self._keys.get(name)]):
            with suppress(jwt.InvalidSignatureError):
                return self._decoded(token, key)
        raise _invalid("it is signed by a key that this server does not know")

    def _decoded(self, token: str, key: Ed25519PublicKey) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=self._audience,
                leeway=LEEWAY,
                options={"require": ["exp", "sub", "aud", "role"]},
            )
        except jwt.InvalidSignatureError:
            raise
        except jwt.ExpiredSignatureError:
            raise _invalid("it has expired; sign another with fedtier token") from None
        except jwt.ImmatureSignatureError:
            raise _invalid("it is not good yet; compare the clocks of this server and of who signed it") from None
        except jwt.InvalidAudienceError:
            raise _invalid(
                f"it is for another federation; this server takes those for {self._audience!r} (--audience)"
            ) from None
        except (jwt.InvalidTokenError, UnicodeEncodeError, RecursionError) as error:
            raise _invalid(str(error)) from None


def _signed_at(claims: Mapping[str, Any]) -> float:
    """Return when a token was signed, in seconds since 1970; long ago where it does not say."""
    signed_at = claims.get("iat")
    return signed_at if isinstance(signed_at, int | float) else -math.inf


def _invalid(reason: str) -> Unauthenticated:
    return Unauthenticated(f"the token is not valid: {reason}")


def _named_key(token: str) -> str | None:
    """Return the name of the key that a token says it is signed by; None where it does not say.

    Raises
    ------
    Unauthenticated
        It is no token, or the name is none.
    """
    header = token.partition(".")[0]
    if len(header) > _LONGEST_HEADER:
        raise _invalid(f"its header has {len(header)} characters, more than {_LONGEST_HEADER}")
    members = json_part(header)
    if not members:
        raise _invalid("it is no JSON Web Token; sign one with fedtier token")
    name = members.get("kid")
    if name is not None and not isinstance(name, str):
        raise _invalid("the name of its key (kid) is no text; sign another with fedtier token")
    return name


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _pem(public_key: Ed25519PublicKey) -> bytes:
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _private_key(pem: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise StartupError("the signing key is not an Ed25519 private key in PEM; make one with: fedtier keygen DIR")
    return key


def _pem_blocks(pem: bytes) -> list[bytes]:
    end = b"-----END PUBLIC KEY-----"
    return [block + end for block in pem.split(end) if block.strip()]


def _public_key(block: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise StartupError("a verify key is not an Ed25519 public key in PEM; make a pair with: fedtier keygen DIR")
    return key
