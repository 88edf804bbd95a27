"""The tokens of a federation whose servers ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from fedtier.tokens import Bearer, Role, generate_keys, make_token


class Bearers:
    """Makes tokens, and says what servers need to know them."""

    def __init__(self) -> None:
        self._signing_key, self._verify_key = generate_keys()

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment of every aggregator: whom it believes, and what it presents itself."""
        return {"FEDTIER_VERIFY_KEYS": self._verify_key.decode(), "FEDTIER_TOKEN": self.token("worker", "a-worker")}

    def token(self, role: Role, subject: str) -> str:
        return make_token(self._signing_key, Bearer(role, subject), now=datetime.now(UTC), lifetime=timedelta(hours=12))

    def header(self, role: Role, subject: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(role, subject)}"}
