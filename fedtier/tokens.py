"""Signed tokens: JSON Web Tokens with Ed25519, so that servers hold public keys only.

A token says who its bearer is (``role`` and ``sub``) and until when. Keys are PEM files
made by ``fedtier keygen``; a verifier takes several, so that keys can be rotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias

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

from fedtier.problems import StartupError, Unauthenticated

Role: TypeAlias = Literal["client", "worker", "operator"]
ROLES: Final[tuple[Role, ...]] = ("client", "worker", "operator")
AUDIENCE: Final = "fedtier"
_ALGORITHM: Final = "EdDSA"


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who presents a token: a role, and the subject's name (a client's id)."""

    role: Role
    subject: str


def generate_keys() -> tuple[bytes, bytes]:
    """Return a new signing key and its public key, both as PEM."""
    private = Ed25519PrivateKey.generate()
    return (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


def make_token(signing_key: bytes, bearer: Bearer, *, now: datetime, lifetime: timedelta) -> str:
    """Sign a token.

    Parameters
    ----------
    signing_key : bytes
        Ed25519 private key as PEM.
    bearer : Bearer
    now : datetime
        With a time zone.
    lifetime : timedelta

    Raises
    ------
    StartupError
        The key is not an Ed25519 private key in PEM.
    """
    try:
        key = load_pem_private_key(signing_key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise StartupError("the signing key is not an Ed25519 private key in PEM; make one with: fedtier keygen DIR")
    claims = {
        "role": bearer.role,
        "sub": bearer.subject,
        "aud": AUDIENCE,
        "iat": now.astimezone(UTC),
        "exp": (now + lifetime).astimezone(UTC),
    }
    return jwt.encode(claims, key, algorithm=_ALGORITHM)


class TokenVerifier:
    """Checks tokens against public keys.

    Parameters
    ----------
    public_keys : sequence of bytes
        PEM blocks; each may hold several keys. A token signed by any of them is good.

    Raises
    ------
    StartupError
        There is no key, or one is not an Ed25519 public key.
    """

    def __init__(self, public_keys: Sequence[bytes]) -> None:
        self._keys = [_public_key(block) for pem in public_keys for block in _pem_blocks(pem)]
        if not self._keys:
            raise StartupError("no public key found to verify tokens with; make a pair with: fedtier keygen DIR")

    def verify(self, token: str) -> Bearer:
        """Return who the bearer of a token is.

        Raises
        ------
        Unauthenticated
            The token is malformed, expired, for another audience, or signed by another key.
        """
        reason = "it is signed by a key that this server does not know"
        for key in self._keys:
            try:
                claims = jwt.decode(
                    token,
                    key,
                    algorithms=[_ALGORITHM],
                    audience=AUDIENCE,
                    options={"require": ["exp", "sub", "aud", "role"]},
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.InvalidTokenError, UnicodeEncodeError) as error:
                reason = str(error)
                break
            if claims["role"] in ROLES and isinstance(claims["sub"], str):
                return Bearer(claims["role"], claims["sub"])
            reason = "its role is unknown"
            break
        raise Unauthenticated(f"the token is not valid: {reason}")


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
