"""For which rounds an evaluation is still to come, and which of them to look at next. Pure."""

from __future__ import annotations

from typing import Final

_NEWEST: Final = 10
_OLDER: Final = 10
_PUT_OFF: Final = 10
"""Pauses for which looks are put off in all while rounds follow each other."""


def next_look(now: float, first: float, pause: float) -> float:
    """Return when to look once a round came: in peace, as a look takes time from S3 and from the one who publishes.

    Parameters
    ----------
    now : float
        Seconds on a monotonic clock.
    first : float
        When the first round came that there was no look after.
    pause : float
        Seconds without a round that are peace.
    """
    return min(now + pause, first + _PUT_OFF * pause)


class Lookout:
    """Remembers the rounds that nobody tested so far.

    Of many, one pass looks at the newest, which are tested first as a rule, and at some of the others in turn.
    """

    def __init__(self) -> None:
        self._models: dict[int, str] = {}
        self._settled: set[int] = set()
        self._turn = 0
        self.found: dict[int, bytes] = {}
        """Evaluations' records that are found and not written yet, by their rounds."""

    @property
    def pending(self) -> int:
        """How many rounds are waited for."""
        return len(self._models)

    def watch_for(self, number: int, model_sha256: str) -> None:
        """Wait for a round's evaluation, unless there is one."""
        if number not in self._settled and number not in self.found:
            self._models[number] = model_sha256

    def next_looks(self) -> list[tuple[int, str]]:
        """Return the rounds to look at in this pass, and their models' SHA-256 in hex."""
        waited_for = sorted(self._models, reverse=True)
        newest, older = waited_for[:_NEWEST], waited_for[_NEWEST:]
        start = self._turn % len(older) if older else 0
        self._turn = start + _OLDER
        chosen = [*newest, *(older[start:] + older[:start])[:_OLDER]]
        return [(number, self._models[number]) for number in chosen]

    def found_one(self, number: int, record: bytes) -> None:
        """Keep the record of an evaluation until it is written."""
        self._models.pop(number, None)
        self.found[number] = record

    def done(self, number: int) -> None:
        """Forget a round: its evaluation is written, or cannot be."""
        self._models.pop(number, None)
        self.found.pop(number, None)
        self._settled.add(number)
