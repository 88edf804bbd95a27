"""How many updates were refused, by reason: counted where clients are told, reported upwards with the workers' polls.

A worker's partial that is refused is not counted: the worker tells its clients, and those are. Nor is an update that
is only asked to come again later. The numbers are a
statistic: a report whose answer gets lost is sent again, and a server that ends takes with it what it has not reported.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final

from fedtier.problems import NAMES

HEADER: Final = "Fedtier-Refused"
"""Of a worker's `GET /v1/round`: ``round-over=2, not-selected=1``, since its last poll that was answered."""
MAX_REPORTED: Final = 1_000_000_000
MAX_REPORT: Final = 2048
"""Characters; all problems that there are take half of it."""
_PART: Final = re.compile(r"([a-z][a-z-]{0,39})=([1-9][0-9]{0,9})")


class Refusals:
    """Counts refused updates by the names of their problems. Safe for use by several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, refused: Mapping[str, int]) -> None:
        """Add updates that were refused."""
        with self._lock:
            for name, number in refused.items():
                self._counts[name] = min(self._counts[name] + number, MAX_REPORTED)

    def take(self) -> dict[str, int]:
        """Return the counts, and begin anew."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
        return dict(taken)


def write_report(refused: Mapping[str, int]) -> dict[str, str]:
    """Return the header that reports counts; none where nothing was refused."""
    if not refused:
        return {}
    return {HEADER: ", ".join(f"{name}={number}" for name, number in sorted(refused.items()))}


def read_report(text: str | None) -> dict[str, int]:
    """Return the counts that a header's value reports, of problems that there are; nothing where it is malformed.

    Parameters
    ----------
    text : str or None
        None where there is no header. One of more than `MAX_REPORT` characters is malformed.
    """
    if text is not None and len(text) > MAX_REPORT:
        return {}
    parts = [_PART.fullmatch(part.strip()) for part in (text or "").split(",")]
    counts = {part[1]: int(part[2]) for part in parts if part}
    if len(counts) != len(parts) or max(counts.values()) > MAX_REPORTED:
        return {}
    return {name: number for name, number in counts.items() if name in NAMES}
