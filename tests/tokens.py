"""Tokens of tests, signed now with a key that the test made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fedtier.claims import DEFAULT_AUDIENCE
from fedtier.tokens import Bearer, Role, make_token


def signed(
    key: bytes,
    role: Role,
    subject: str,
    *,
    lifetime: timedelta = timedelta(hours=1),
    audience: str = DEFAULT_AUDIENCE,
) -> str:
    """Return somebody's token, by default good for as long as any test."""
    return make_token(key, Bearer(role, subject), now=datetime.now(UTC), lifetime=lifetime, audience=audience)


def presented(key: bytes, role: Role, subject: str) -> dict[str, str]:
    """Return the header that presents somebody's token."""
    return {"Authorization": f"Bearer {signed(key, role, subject)}"}
