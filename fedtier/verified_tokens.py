"""Tokens whose signatures were verified: to verify one costs about as much as all else that is done for a poll. Pure.

What is remembered are a token's digest, its bearer and its times; those are compared at every use. Everything else that
makes a token good (keys, audience, revocations) does not change while a `fedtier.tokens.TokenVerifier` lives.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

MOST_TOKENS: Final = 16_384
"""Some 6 MB. Beyond it those that were verified first are forgotten, and verified again when they come."""

Bearer = TypeVar("Bearer")


@dataclass(frozen=True, slots=True)
class _Verified(Generic[Bearer]):
    """Who a token is for, and when it is good, in seconds since 1970."""

    bearer: Bearer
    begins: int
    ends: int


class VerifiedTokens(Generic[Bearer]):
    """Remembers good tokens. Safe for use by several threads at once.

    Parameters
    ----------
    leeway : float
        Seconds that a token is good earlier and longer.
    most : int
        How many are remembered.
    """

    def __init__(self, *, leeway: float, most: int = MOST_TOKENS) -> None:
        self._leeway = leeway
        self._most = most
        self._lock = threading.Lock()
        self._verified: dict[bytes, _Verified[Bearer]] = {}

    def __len__(self) -> int:
        return len(self._verified)

    def find(self, token: str, now: float) -> Bearer | None:
        """Return the bearer of a token that was verified and is good now; None where it is to be verified.

        Parameters
        ----------
        token : str
        now : float
            Seconds since 1970.
        """
        known = self._verified.get(_digest(token))
        if known is None or not (known.begins <= now + self._leeway and now - self._leeway < known.ends):
            return None
        return known.bearer

    def add(self, token: str, bearer: Bearer, claims: Mapping[str, Any]) -> None:
        """Remember a token that was verified just now.

        Parameters
        ----------
        token : str
        bearer : Bearer
        claims : Mapping
            Its own; ``exp``, ``iat`` and ``nbf``, as far as they are there, are numbers.
        """
        begins = max(int(claims.get(name, 0)) for name in ("iat", "nbf"))
        with self._lock:
            self._verified[_digest(token)] = _Verified(bearer, begins, int(claims["exp"]))
            while len(self._verified) > self._most:
                del self._verified[next(iter(self._verified))]


def _digest(token: str) -> bytes:
    """Return what a token is known by here: nothing that could be presented anywhere."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
