"""What TensorBoard shows of a federation: tags and values of a round and of an evaluation. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fedtier.evaluations import Evaluation
from fedtier.problems import RoundOver
from fedtier.rounds import Contributor, RoundManifest

COUNTED: Final = "clients/counted"
"""The tag that every round has."""
LATE: Final = "updates/late"
REFUSED: Final = "updates/refused"
METRICS: Final = ("loss", "accuracy")
"""The metrics that every task means the same by; they go first where not all have room."""
MAX_DEVICE_SCALARS: Final = 20_000
"""Values of single devices in one round: some 800 KB. Beyond it TensorBoard shows nothing that a person could read."""
MAX_METRICS: Final = 32
"""Metrics of one round that get a mean, and metrics of one evaluation."""
_LONGEST_NAME: Final = 64
_NOT_IN_TAGS: Final = re.compile(r"[^A-Za-z0-9_.-]")
_LARGEST: Final = 3.4028234663852886e38
"""float32's; TensorBoard's values are such."""


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What of a round stands in no manifest: only the process that published it knows.

    Parameters
    ----------
    publishing : float
        Seconds from the written model to the moved head.
    refused : Mapping of str to int
        Updates that were refused since the round before was published, by the problem's name.
    """

    publishing: float
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Scalars:
    """Values by their tags, and how many there was no room for."""

    values: Mapping[str, float]
    left_out: int = 0


def round_scalars(manifest: RoundManifest, witnessed: Witnessed | None = None) -> Scalars:
    """Return what is shown of a published round.

    Parameters
    ----------
    manifest : RoundManifest
    witnessed : Witnessed, optional
        None for a round that is written down from S3 later: its tags are missing then.

    Returns
    -------
    Scalars
        ``devices/<client>/<metric>`` and ``devices/<client>/examples``; ``mean/<metric>``, weighted by examples, and
        ``spread/<metric>/deviation``, its standard deviation, with ``low`` and ``high`` one of them apart from the
        mean; ``clients/counted``, ``updates/...`` and ``seconds/...``. ``seconds/round`` is from the round's opening
        to its written model, as the manifest's times say.
    """
    values: dict[str, float] = {COUNTED: float(len(manifest.contributors)), **_seconds(manifest)}
    if witnessed is not None:
        values |= {"seconds/publishing": witnessed.publishing, **_refusals(witnessed.refused)}
    parts = [(contributor, _named(contributor.metrics)) for contributor in manifest.contributors]
    present = Counter(name for _, metrics in parts for name in metrics)
    names = sorted(present, key=lambda name: (_rank(name), -present[name], name))
    for name in names[:MAX_METRICS]:
        values |= _spread(name, [(one.num_examples, metrics[name]) for one, metrics in parts if name in metrics])
    left_out = len(names[MAX_METRICS:])
    devices = _devices(parts, names)
    values |= devices[:MAX_DEVICE_SCALARS]
    left_out += len(devices[MAX_DEVICE_SCALARS:])
    return Scalars({tag: _float32(value) for tag, value in values.items()}, left_out)


def evaluation_scalars(evaluation: Evaluation) -> Scalars:
    """Return what is shown of a round's model on test data: ``global/<metric>``."""
    metrics = _named(evaluation.metrics)
    names = sorted(metrics, key=lambda name: (_rank(name), name))
    values = {f"global/{name}": _float32(metrics[name]) for name in names[:MAX_METRICS]}
    return Scalars(values, len(names[MAX_METRICS:]))


def tag_part(name: str) -> str:
    """Return a name as a part of a tag: letters, digits, dots, hyphens and underscores, at most 64 of them."""
    return _NOT_IN_TAGS.sub("_", name)[:_LONGEST_NAME] or "_"


def _named(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics by names that tags can have; of two that become one, the first is kept."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        found.setdefault(tag_part(name), _float32(value))
    return found


def _rank(name: str) -> int:
    return METRICS.index(name) if name in METRICS else len(METRICS)


def _devices(parts: Sequence[tuple[Contributor, Mapping[str, float]]], names: Sequence[str]) -> list[tuple[str, float]]:
    """Return the values of single devices, those that everybody wants to see first."""
    found = [(f"devices/{one.client_id}/examples", float(one.num_examples)) for one, _ in parts]
    for name in names:
        if name != "examples":
            found += [(f"devices/{one.client_id}/{name}", own[name]) for one, own in parts if name in own]
    return found


def _spread(name: str, weighted: Sequence[tuple[int, float]]) -> dict[str, float]:
    total = sum(weight for weight, _ in weighted)
    mean = math.fsum(weight * value for weight, value in weighted) / total
    deviation = math.sqrt(math.fsum(weight * (value - mean) ** 2 for weight, value in weighted) / total)
    return {
        f"mean/{name}": mean,
        f"spread/{name}/low": mean - deviation,
        f"spread/{name}/high": mean + deviation,
        f"spread/{name}/deviation": deviation,
    }


def _seconds(manifest: RoundManifest) -> dict[str, float]:
    return {
        "seconds/collecting": (manifest.closed_at - manifest.opened_at).total_seconds(),
        "seconds/averaging": (manifest.published_at - manifest.closed_at).total_seconds(),
        "seconds/round": (manifest.published_at - manifest.opened_at).total_seconds(),
    }


def _refusals(refused: Mapping[str, int]) -> dict[str, float]:
    others = {name: number for name, number in refused.items() if name != RoundOver.name}
    reasons = {f"{REFUSED}/{tag_part(name)}": float(number) for name, number in others.items()}
    return {LATE: float(refused.get(RoundOver.name, 0)), REFUSED: float(sum(others.values())), **reasons}


def _float32(value: float) -> float:
    return min(max(value, -_LARGEST), _LARGEST)
