"""The keys of a federation that asks for tokens, made for a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fedtier.tokens import Bearer, Role, generate_keys, make_token


class Keys:
    """A pair of keys, and the tokens that are signed with it."""

    def __init__(self) -> None:
        self._private, public = generate_keys()
        self.variables = {"FEDTIER_VERIFY_KEYS": public.decode(), "FEDTIER_TOKEN": self.token("worker", "workers")}
        """Of a server's process."""

    def token(self, role: Role, subject: str) -> str:
        """Return a token that is good for as long as any test."""
        return make_token(self._private, Bearer(role, subject), now=datetime.now(UTC), lifetime=timedelta(hours=1))
