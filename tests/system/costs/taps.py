"""Ways between two tiers that count what passes, by what is asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from tests.relays import Relay

_TIERS: Final = {
    "poll": rb"GET /v1/round ",
    "update": rb"PUT /v1/rounds/\d+/updates/",
    "partial": rb"PUT /v1/rounds/\d+/partials/",
    "model": rb"GET /v1/rounds/\d+/model ",
}
_S3: Final = {
    "model stored": rb"PUT /.*/model-\w+\.safetensors",
    "manifest stored": rb"PUT /.*/manifest-\w+\.json",
    "head stored": rb"PUT /.*/head\.json",
    "copy stored": rb"PUT /",
    "evaluation asked for": rb"GET /.*/evaluation-",
    "looked for": rb"HEAD /",
    "read": rb"GET /",
}
CONNECTIONS: Final = "connections"


@dataclass(frozen=True, slots=True)
class Passed:
    """What has passed so far, by kind; the difference of two is what passed in between.

    Parameters
    ----------
    times : Counter of str
        Requests; and connections that were made.
    up, down : Counter of str
        Bytes of requests and of answers, their heads included.
    """

    times: Counter[str]
    up: Counter[str]
    down: Counter[str]

    def __sub__(self, other: Self) -> Passed:
        return Passed(
            *(
                Counter({kind: mine[kind] - theirs[kind] for kind in mine})
                for mine, theirs in ((self.times, other.times), (self.up, other.up), (self.down, other.down))
            )
        )


class Tap(Relay):
    """A relay that counts.

    Parameters
    ----------
    server : tuple of str and int
        Where to.
    kinds : Mapping of str to bytes
        Kinds of requests, each with the start of its first line; the first that matches.
    """

    def __init__(self, server: tuple[str, int], kinds: Mapping[str, bytes]) -> None:
        super().__init__(server)
        self._kinds = {kind: re.compile(pattern) for kind, pattern in kinds.items()}
        self._passed = Passed(Counter(), Counter(), Counter())

    @classmethod
    def to_tier(cls, server: tuple[str, int]) -> Self:
        return cls(server, _TIERS)

    @classmethod
    def to_s3(cls, server: tuple[str, int]) -> Self:
        return cls(server, _S3)

    def passed(self) -> Passed:
        """Return what has passed so far."""
        with self._lock:
            return Passed(Counter(self._passed.times), Counter(self._passed.up), Counter(self._passed.down))

    def saw_connection(self) -> None:
        with self._lock:
            self._passed.times[CONNECTIONS] += 1

    def saw_request(self, line: bytes) -> None:
        with self._lock:
            self._passed.times[self._kind(line)] += 1

    def saw_bytes(self, line: bytes, count: int, *, up: bool) -> None:
        with self._lock:
            (self._passed.up if up else self._passed.down)[self._kind(line)] += count

    def _kind(self, line: bytes) -> str:
        return next((kind for kind, pattern in self._kinds.items() if pattern.match(line)), "other")
