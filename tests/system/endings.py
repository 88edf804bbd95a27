"""How an aggregator ends that cannot go on: with a status that says so, and one sentence."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.system.federation import Aggregator


@dataclass(frozen=True, slots=True)
class Ending:
    """What is left of a process."""

    status: int
    sentence: str


def ending_of(aggregator: Aggregator, *, since: int = 0) -> Ending:
    """Return how an aggregator ended by itself, given how long its log was before."""
    status = aggregator.process.wait()
    log = aggregator.process.log.read_bytes()[since:].decode()
    sentences = [line for line in log.splitlines() if line.startswith("Error: ")]
    assert status > 0, log
    assert "Traceback" not in log, log
    assert len(sentences) == 1, log
    return Ending(status, sentences[0])


def refused_start(aggregator: Aggregator) -> Ending:
    """Start an aggregator that ends instead of listening."""
    since = aggregator.process.log.stat().st_size
    with pytest.raises(AssertionError, match="ended with status"):
        aggregator.start(ready=False)
    return ending_of(aggregator, since=since)
