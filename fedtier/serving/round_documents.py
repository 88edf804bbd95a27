"""The answers to polls: the round as a document, made anew when it changed, and how often clients are to ask."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass

from fedtier.rounds import RoundStatus
from fedtier.serving.pacing import Eagerness, PollPacer
from fedtier.serving.tier import Tier


@dataclass(frozen=True, slots=True)
class RoundDocument:
    """A round as whoever asks is told it.

    Parameters
    ----------
    status : RoundStatus
        What it was made of.
    pace : float
        Seconds after which to ask again.
    body : bytes
        JSON.
    tag : str
        The entity tag of the body, in its quotes.
    """

    status: RoundStatus
    pace: float
    body: bytes
    tag: str


class RoundDocuments:
    """Answers from memory while nothing changed. Safe for use by several threads at once.

    Parameters
    ----------
    tier : Tier
    """

    def __init__(self, tier: Tier) -> None:
        self._tier = tier
        self._lock = threading.Lock()
        self._pacer = PollPacer(time.monotonic())
        self._eagerness = Eagerness()
        self._opened = (0, 0), 0.0
        self._last: RoundDocument | None = None

    def take(self) -> RoundDocument:
        """Return the round for one who asks.

        Raises
        ------
        Problem
            As the tier does.
        """
        status = self._tier.status()
        with self._lock:
            document = self._current(status)
            self._pacer.told(time.monotonic(), document.pace)
            return document

    def pace_of(self, tag: str | None) -> float | None:
        """Return how long one who knows a document is to wait, None where it is not the present one.

        Parameters
        ----------
        tag : str or None
            Of an ``If-None-Match`` that names this one document.

        Raises
        ------
        Problem
            As the tier does.
        """
        if self._last is None or self._last.tag != tag:
            return None
        status = self._tier.status()
        with self._lock:
            document = self._current(status)
            return document.pace if document.tag == tag else None

    def told(self, pace: float) -> None:
        """Count one who asked, and was told by a 304 to wait as before."""
        with self._lock:
            self._pacer.told(time.monotonic(), pace)

    def _current(self, status: RoundStatus) -> RoundDocument:
        now = time.monotonic()
        eager = self._eagerness.look(now, status.state)
        pace = self._pacer.pace(now, model_bytes=status.base.bytes, age=now - self._since(status, now), eager=eager)
        last = self._last
        if last is None or last.status is not status or last.pace != pace:
            body = status.model_copy(update={"poll_after": pace}).to_json()
            last = self._last = RoundDocument(status, pace, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
        return last

    def _since(self, status: RoundStatus, now: float) -> float:
        """Return when a round was shown first."""
        if self._opened[0] != (status.round, status.attempt):
            self._opened = (status.round, status.attempt), now
        return self._opened[1]
