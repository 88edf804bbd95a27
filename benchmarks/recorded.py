"""What was measured and lies in a folder of results: read for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter

from benchmarks.machine import Machine
from benchmarks.matrix import CELLS
from benchmarks.measured import Measured
from benchmarks.profiles import Profile

OURS: Final = "fedtier"
EXPECTED: Final = (
    *CELLS,
    "profile-0.01mb",
    "profile-1.7mb",
    "profile-64mb",
    "peers-64mb",
    "halves",
    "scale-workers",
    "scale-depth",
    "scale-small",
    "scale-large",
    "scale-idle",
    "scale-contributors",
)
"""What benchmarks/README.md says how to measure, by file name without ``.json``."""
Record: TypeAlias = Mapping[str, Any]
"""A flat object of a benchmark of scale."""


@dataclass(frozen=True, slots=True)
class SystemResult:
    """All runs of one system, as `benchmarks.peers` writes them; figures are None where every run failed.

    Parameters
    ----------
    server_pss_of_runs : tuple of float
        Of each run for memory; `server_pss_megabytes` is the median.
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
    server_pss_of_runs: tuple[float, ...]
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
    """Systems that did the same work in turns, for so many counted rounds in each run.

    `loopback` is what one connection carried around the repeats, in GB/s.
    """

    clients: int
    megabytes: float
    rounds: int
    results: tuple[SystemResult, ...]
    loopback: tuple[float, ...] = ()

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
    profiles : Mapping of str to Profile
        By file name without ``.json``: ``profile-64mb``.
    halves : Mapping of str to sequence of sequence of float, or None
        Accuracy on MNIST by upload dtype: of each seed, after each round, from round 0 on.
    machines : Mapping of str to Machine
        That comparisons and scales were measured on, by file name without ``.json``.
    """

    cells: Mapping[str, Measured]
    comparisons: Mapping[str, Comparison]
    scales: Mapping[str, Sequence[Record]]
    profiles: Mapping[str, Profile]
    halves: Mapping[str, Sequence[Sequence[float]]] | None
    machines: Mapping[str, Machine]

    @property
    def cores(self) -> int | None:
        """Of the machine that the scales were measured on."""
        return next((self.machines[name].cores for name in self.scales if name in self.machines), None)

    @property
    def missing(self) -> list[str]:
        """The files that the report would show and has not got."""
        found = {*self.cells, *self.comparisons, *self.scales, *self.profiles, *(["halves"] if self.halves else [])}
        return [f"{name}.json" for name in EXPECTED if name not in found]


def read_results(folder: Path) -> Recorded:
    """Read a folder.

    Raises
    ------
    pydantic.ValidationError
        A file is not what its name says.
    """
    measured, comparison, machine = TypeAdapter(Measured), TypeAdapter(Comparison), TypeAdapter(Machine)
    cells = {cell: path for cell in CELLS if (path := folder / f"{cell}.json").exists()}
    peers, scales = (
        {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob(names))}
        for names in ("peers-*.json", "scale*.json")
    )
    profile = TypeAdapter(Profile)
    profiles = {path.stem: profile.validate_json(path.read_bytes()) for path in sorted(folder.glob("profile-*.json"))}
    halves = folder / "halves.json"
    return Recorded(
        cells={cell: measured.validate_json(path.read_bytes()) for cell, path in cells.items()},
        comparisons={name: comparison.validate_python(found) for name, found in peers.items()},
        scales={name: found["records"] for name, found in scales.items()},
        profiles=profiles,
        halves=json.loads(halves.read_text())["accuracy"] if halves.exists() else None,
        machines={
            name: machine.validate_python(found["machine"])
            for name, found in {**peers, **scales}.items()
            if found.get("machine")
        },
    )
