"""Strangers: requests that look right but for the token they come with, and must be turned away by every tier."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import requests

from tests.system.federation import PATIENCE
from tests.system.guards import Guard
from tests.system.tree import Tree

Shown: TypeAlias = Literal[
    "no token", "a forged token", "another federation's token", "another client's token", "a worker's token"
]
SHOWN: Final[tuple[Shown, ...]] = get_args(Shown)
_SOMEBODY: Final = "somebody"


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody sends another client's update in a client's name to an aggregator, and may not.

    It passes no way, so no ledger knows of it: if it counted, it would be found as an update that nobody sent.
    """

    shows: Shown
    client_id: str
    to: str
    round: int

    def prepare(self, tree: Tree) -> Callable[[], bool]:
        def send() -> bool:
            body = tree.ledger.update_of_another(self.round, self.client_id)
            if body is None:
                return False
            url = tree.federation[self.to].url
            answer = put_update(url, self.round, self.client_id, body, self._token(tree))
            if answer is None or answer.status_code == 503:  # it is being restarted, or stops
                return False
            assert answer.status_code == self._refusal, f"{self}: {answer.status_code} {answer.text}"
            return True

        return tree.during(self.round, send)

    @property
    def _refusal(self) -> int:
        return 403 if self.shows in {"another client's token", "a worker's token"} else 401

    def _token(self, tree: Tree) -> str | None:
        guard = tree.federation.guard
        assert guard is not None, "the tree was made with a guard"
        match self.shows:
            case "no token":
                return None
            case "a forged token":
                return Guard(tree.federation.folder / "forged-keys", tls=False).token("client", self.client_id)
            case "another federation's token":
                return guard.token("client", self.client_id, audience="another federation")
            case "another client's token":
                return guard.token("client", _SOMEBODY)
            case "a worker's token":
                return guard.token("worker", self.client_id)


def put_update(url: str, round_number: int, client_id: str, body: bytes, token: str | None) -> requests.Response | None:
    """Send an update once in a client's name; return the answer, or None where none comes."""
    headers = {"Content-Type": "application/octet-stream"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    with contextlib.suppress(requests.RequestException):
        return requests.put(
            f"{url}/v1/rounds/{round_number}/updates/{client_id}", data=body, headers=headers, timeout=PATIENCE
        )
    return None
