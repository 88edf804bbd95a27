"""What was measured and lies in a folder of results: read for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter

from benchmarks.matrix import CELLS
from benchmarks.measured import Measured

OURS: Final = "fedtier"
Record: TypeAlias = Mapping[str, Any]
"""A flat object of a benchmark of scale."""


@dataclass(frozen=True, slots=True)
class SystemResult:
    """All runs of one system, as `benchmarks.peers` writes them; figures are None where every run failed.

    Parameters
    ----------
    runs : int
        Those that ended well, and made the figures.
    failures : tuple of str
        Why each of the others did not.
    """

    system: str
    variant: str
    version: str
    seconds: tuple[float, ...]
    median: float | None
    min: float | None
    max: float | None
    server_pss_megabytes: float | None
    server_high_water_megabytes: float | None
    memory_samples: int | None
    runs: int
    failures: tuple[str, ...]

    @property
    def name(self) -> str:
        """How tables call it."""
        return " ".join(filter(None, (self.system, self.variant)))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Systems that did the same work in turns, for so many counted rounds in each run."""

    clients: int
    megabytes: float
    rounds: int
    results: tuple[SystemResult, ...]

    @property
    def ours(self) -> SystemResult | None:
        """The result of fedtier."""
        return next((one for one in self.results if one.system == OURS and one.median is not None), None)

    def of(self, system: str) -> tuple[SystemResult, ...]:
        """Return the variants of a peer that ended well."""
        return tuple(one for one in self.results if one.system == system and one.median is not None)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Everything that is there.

    Parameters
    ----------
    cells : Mapping of str to Measured
        By the names of `benchmarks.matrix.CELLS`, in their order.
    comparisons : Mapping of str to Comparison
        By file name without ``.json``: ``peers-64mb``.
    scales : Mapping of str to sequence of records
        By file name without ``.json``: ``scale-updates``.
    halves : Mapping of str to sequence of float, or None
        Accuracy after each round on MNIST, from round 0 on, by upload dtype.
    cores : int or None
        Of the machine that the scales were measured on.
    """

    cells: Mapping[str, Measured]
    comparisons: Mapping[str, Comparison]
    scales: Mapping[str, Sequence[Record]]
    halves: Mapping[str, Sequence[float]] | None
    cores: int | None

    @property
    def missing(self) -> list[str]:
        """What the report would show and has not got."""
        others = [("peers", self.comparisons), ("scale", self.scales), ("halves", self.halves)]
        return [cell for cell in CELLS if cell not in self.cells] + [name for name, found in others if not found]


def read_results(folder: Path) -> Recorded:
    """Read a folder.

    Raises
    ------
    pydantic.ValidationError
        A file is not what its name says.
    """
    measured, comparison = TypeAdapter(Measured), TypeAdapter(Comparison)
    paths = {cell: folder / f"{cell}.json" for cell in CELLS}
    scales = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("scale*.json"))}
    halves = folder / "halves.json"
    cores = [found["machine"]["cores"] for found in scales.values() if "machine" in found]
    return Recorded(
        cells={cell: measured.validate_json(path.read_bytes()) for cell, path in paths.items() if path.exists()},
        comparisons={
            path.stem: comparison.validate_json(path.read_bytes()) for path in sorted(folder.glob("peers-*.json"))
        },
        scales={name: found["records"] for name, found in scales.items()},
        halves=json.loads(halves.read_text())["accuracy"] if halves.exists() else None,
        cores=cores[0] if cores else None,
    )
