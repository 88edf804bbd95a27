"""Numbers of rounds: what clients and tasks report, their means, and how a person reads them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from fedtier.rounds import Contributor, RoundManifest

METRICS: Final = ("loss", "accuracy")
"""The metrics that every task means the same by."""
_BOUND: Final = 1e100
_PERCENT: Final = "accuracy"
_MOST_PERCENT: Final = 10.0
_LEAST_PLAIN, _MOST_PLAIN = 5e-5, 1e6


def bounded(value: float) -> float:
    """Return a finite number, or the bound that it lies beyond.

    One client may report 1e308. What lies beyond 1e100 counts as 1e100, so that means, deviations and axes of what all
    report stay finite.
    """
    return min(max(value, -_BOUND), _BOUND)


def reported(contributor: Contributor, name: str) -> float | None:
    """Return what a client reports of its training, `bounded`, or None where it does not report this."""
    value = contributor.metrics.get(name)
    return None if value is None else bounded(value)


def mean_metric(contributors: Sequence[Contributor], name: str) -> float | None:
    """Return the mean of what clients report, weighted by their examples; None where none reports it."""
    told = [(one.num_examples, value) for one in contributors if (value := reported(one, name)) is not None]
    weight = sum(examples for examples, _ in told)
    return math.fsum(examples * value for examples, value in told) / weight if weight else None


def known_first(names: Iterable[str]) -> list[str]:
    """Return names of metrics, each once: loss and accuracy first, then the others in order."""
    found = set(names)
    return [name for name in METRICS if name in found] + sorted(found.difference(METRICS))


def shown_metric(name: str, value: float | None) -> str:
    """Return a metric as tables show it, in at most twelve characters: the accuracy in per cent."""
    if value is None:
        return ""
    if name == _PERCENT and abs(value) < _MOST_PERCENT:
        return f"{value:.2%}"
    if value == 0 or _LEAST_PLAIN <= abs(value) < _MOST_PLAIN:
        return f"{value:.4f}"
    return f"{value:.3e}"


def round_seconds(manifest: RoundManifest) -> float:
    """Return the seconds from a round's opening to its publishing."""
    return (manifest.published_at - manifest.opened_at).total_seconds()
