"""Whose tokens are refused before they expire: a list of subjects that the operator keeps in a file.

A line is a subject, and optionally the time before which its tokens were signed that are
refused; without one, all are. What follows ``#`` is a remark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from fedtier.problems import StartupError


def read_revocations(text: str, where: str) -> Mapping[str, float]:
    """Return until when each subject's tokens are revoked, in seconds since 1970; infinity where all are.

    Parameters
    ----------
    text : str
    where : str
        What a sentence calls the file.

    Raises
    ------
    StartupError
        A line is none; names it.
    """
    revoked: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if words:
            revoked[words[0]] = max(_until(words[1:], f"line {number} of {where}"), revoked.get(words[0], -math.inf))
    return revoked


def _until(words: list[str], where: str) -> float:
    if not words:
        return math.inf
    try:
        [word] = words
        time = datetime.fromisoformat(word)
    except ValueError:
        raise StartupError(
            f"{where} is no revocation; write a subject, or a subject and a time such as 2026-11-25T12:00:00Z"
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
