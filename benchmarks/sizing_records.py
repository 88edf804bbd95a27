"""Costs from the records of `benchmarks.scale`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.recorded import Record
from benchmarks.sizing_inputs import Costs, Curve

WORKERS: Final = 2
"""Of the cells that costs by size are taken from: every size was measured with so many."""
CLIENTS: Final = 100
"""The same: of each size the cell with most clients, up to so many."""
WIDEST_PARTIAL: Final = 2.0
"""Bytes of a partial for each byte of a float32 model: eight for a value, which is as wide as sums get on the wire."""
_SAME_WIDTH: Final = 64
"""Times the contributors of the largest partial measured, to which its width is taken to do. A second byte in the upper
half of a value takes it to 256 times the contributors of the first; partials measured had used up some of that."""


def read_records(folder: Path) -> tuple[Sequence[Record], Mapping[str, Any]]:
    """Return all records of scale benchmarks in a folder, and the machine that the last file names.

    Raises
    ------
    SystemExit
        There are none.
    """
    files = [json.loads(file.read_text()) for file in sorted(folder.glob("scale*.json"))]
    if not files:
        raise SystemExit(f"no scale*.json in {folder}; benchmarks/README.md says how to make them")
    return [record for file in files for record in file["records"]], files[-1]["machine"]


def costs_of(records: Iterable[Record]) -> Costs:
    """Return what records of `benchmarks.scale` say of costs.

    Raises
    ------
    SystemExit
        Records are missing: updates of two workers in two sizes, idle and contributors with two numbers of clients.
    """
    records = list(records)
    updates, idle, contributors = cells_by_size(records), _ends(records, "idle"), _ends(records, "contributors")
    parsing = contributors[-1]["partial_header_core_us_per_contributor"] / 1000
    return Costs(
        update=_curve(updates, lambda record: record["worker_core_ms_per_update"]),
        download=_curve(updates, lambda record: record["worker_core_ms_per_download"]),
        partial=_curve(
            updates, lambda record: record["master_core_ms_per_partial"] - parsing * record["contributors_per_partial"]
        ),
        poll=idle[-1]["worker_core_ms_per_poll"],
        idle_cores=idle[-1]["worker_cores_without_clients"] / idle[-1]["workers"],
        contributor=parsing,
        partial_bytes=partial_bytes(records),
        worker_memory=_curve(updates, lambda record: record["worker_pss_megabytes"] / record["workers"]),
        master_memory=_curve(updates, lambda record: record["master_pss_megabytes"]),
        connection_kilobytes=1000 * _growth(idle, "worker_pss_megabytes"),
        manifest_bytes=contributors[-1]["manifest_bytes_per_contributor"],
        header_bytes=contributors[-1]["partial_header_bytes_per_contributor"],
        contributor_kilobytes=1000 * _growth(contributors, "master_pss_megabytes"),
    )


def cells_by_size(records: Iterable[Record]) -> list[Record]:
    """Return the record of each size that costs by size are taken from, the smallest model first.

    Raises
    ------
    SystemExit
        There are not two sizes.
    """
    found: dict[float, Record] = {}
    for record in records:
        if record["benchmark"] != "updates" or (record["depth"], record["workers"]) != (2, WORKERS):
            continue
        size, most = record["megabytes"], found.get(record["megabytes"], {"clients": 0})["clients"]
        if most < record["clients"] <= CLIENTS:
            found[size] = record
    if len(found) < 2:
        raise SystemExit(f"records of 'updates' with two different megabytes and {WORKERS} workers are needed")
    return [found[size] for size in sorted(found)]


def partial_bytes(records: Iterable[Record]) -> Curve:
    """Return the bytes of a partial for each byte of the model, by its contributors: no less than in any smaller one.

    Beyond the largest partial that was measured the format says what may come: see docs/architecture.md.
    """
    measured = sorted(
        (record["contributors_per_partial"], record["partial_bytes_per_model_byte"])
        for record in records
        if record["benchmark"] == "updates"
    )
    places: list[tuple[float, float]] = []
    for contributors, widest in measured:
        if not places or widest > places[-1][1]:
            places.append((contributors, widest))
    most = measured[-1][0]
    if places[-1][0] < most:
        places.append((most, places[-1][1]))
    same = _SAME_WIDTH * most
    return Curve((*places, (same, places[-1][1]), (2 * same, WIDEST_PARTIAL), (4 * same, WIDEST_PARTIAL)))


def _ends(records: Iterable[Record], benchmark: str) -> tuple[Record, Record]:
    """Return the records of a benchmark with fewest and with most clients."""
    found = sorted((one for one in records if one["benchmark"] == benchmark), key=lambda one: int(one["clients"]))
    if not found or found[0]["clients"] == found[-1]["clients"]:
        raise SystemExit(f"records of {benchmark!r} with two different clients are needed")
    return found[0], found[-1]


def _curve(cells: Sequence[Record], value: Callable[[Record], float]) -> Curve:
    """Return a value by size; a larger model never costs less than a smaller one, which is what scatter would say."""
    values = itertools.accumulate(map(value, cells), max)
    return Curve(tuple((float(record["megabytes"]), most) for record, most in zip(cells, values, strict=True)))


def _growth(ends: tuple[Record, Record], name: str) -> float:
    few, many = ends
    return float(max(0.0, (many[name] - few[name]) / (many["clients"] - few["clients"])))
