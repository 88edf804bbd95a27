"""Writes the tables of docs/scaling.md: what was measured by `benchmarks.scale`, and what `sizing_model` makes of it.

``python -m benchmarks.sizing [--results benchmarks/results] [--write docs/scaling.md]``

Reads all records in ``scale*.json``. Without ``--write`` the tables are printed.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.scale import table
from benchmarks.sizing_model import Costs, Deployment, Line, Prices, Scenario, size

Records = Sequence[Mapping[str, Any]]

_SIZES: Final = (1.7, 64.0, 400.0)
_CROWDS: Final = ((10_000, 600.0), (1_000_000, 3600.0))
"""Clients, and the seconds of a round of theirs."""
SCENARIOS: Final = tuple(
    Scenario(clients=clients, megabytes=megabytes, round_seconds=seconds)
    for clients, seconds in _CROWDS
    for megabytes in _SIZES
)
_MARKED: Final = re.compile(r"(<!-- sizing: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description="What a deployment takes, from what was measured.")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="folder of scale*.json")
    parser.add_argument("--write", type=Path, help="page whose marked tables are written anew")
    options = parser.parse_args(arguments)
    records, machine = read_results(options.results)
    found = tables(records, machine)
    if options.write is None:
        print("\n\n".join(found.values()))
    else:
        options.write.write_text(with_tables(options.write.read_text(), found))


def read_results(folder: Path) -> tuple[Records, Mapping[str, Any]]:
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


def costs_of(records: Records) -> Costs:
    """Return what records of `benchmarks.scale` say of costs.

    Raises
    ------
    SystemExit
        Records are missing: updates of depth 2 in two sizes, idle and contributors with two numbers of clients.
    """
    updates = _of(records, "updates", "megabytes", lambda record: record["depth"] == 2)
    idle = _of(records, "idle", "clients", lambda record: True)
    contributors = _of(records, "contributors", "clients", lambda record: True)
    parsing = contributors[-1]["partial_header_core_us_per_contributor"] / 1000
    return Costs(
        update=_line(updates, lambda record: record["worker_core_ms_per_update"]),
        download=_line(updates, lambda record: record["worker_core_ms_per_download"]),
        partial=_line(
            updates, lambda record: record["master_core_ms_per_partial"] - parsing * record["contributors_per_partial"]
        ),
        poll=idle[-1]["worker_core_ms_per_poll"],
        idle_cores=idle[-1]["worker_cores_without_clients"] / idle[-1]["workers"],
        contributor=parsing,
        partial_bytes=updates[-1]["partial_bytes_per_model_byte"],
        worker_memory=_line(updates, lambda record: record["worker_pss_megabytes"] / record["workers"]),
        master_memory=_line(updates, lambda record: record["master_pss_megabytes"]),
        connection_kilobytes=1000 * _growth(idle, "worker_pss_megabytes"),
        manifest_bytes=contributors[-1]["manifest_bytes_per_contributor"],
        header_bytes=contributors[-1]["partial_header_bytes_per_contributor"],
        contributor_kilobytes=1000 * _growth(contributors, "master_pss_megabytes"),
    )


def _of(records: Records, benchmark: str, by: str, wanted: Callable[[Mapping[str, Any]], bool]) -> Records:
    """Return records of a benchmark, those of the smallest and of the largest of something."""
    found = sorted((r for r in records if r["benchmark"] == benchmark and wanted(r)), key=lambda record: record[by])
    if not found or found[0][by] == found[-1][by]:
        raise SystemExit(f"records of {benchmark!r} with two different {by} are needed")
    return [found[0], found[-1]]


def _line(records: Records, value: Callable[[Mapping[str, Any]], float]) -> Line:
    """Return the line through the smallest and the largest model; neither part is less than nothing."""
    small, large = records
    slope = max(0.0, (value(large) - value(small)) / (large["megabytes"] - small["megabytes"]))
    return Line(max(0.0, value(small) - slope * small["megabytes"]), slope)


def _growth(records: Records, name: str) -> float:
    few, many = records
    return float(max(0.0, (many[name] - few[name]) / (many["clients"] - few["clients"])))


def tables(records: Records, machine: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables by the names of their places in the page."""
    costs, prices = costs_of(records), Prices()
    deployments = [size(costs, scenario, prices) for scenario in SCENARIOS]
    return {
        "machine": "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in machine.items()),
        "costs": _costs_table(costs),
        "servers": _rows(deployments, _SERVERS),
        "network": _rows(deployments, _NETWORK),
        "dollars": _rows(deployments, _DOLLARS),
        "prices": table(
            [{"price": name.replace("_", " "), "value": f"{getattr(prices, name):g}"} for name in prices.__slots__],
            ["price", "value"],
        ),
    }


def _costs_table(costs: Costs) -> str:
    lines = [
        ("a worker, for an update", "core-ms", costs.update),
        ("a worker, for a model that a client gets", "core-ms", costs.download),
        ("an upstream, for a partial", "core-ms", costs.partial),
        ("memory of a worker", "MB", costs.worker_memory),
        ("memory of the master", "MB", costs.master_memory),
    ]
    rows = [
        {
            "what": what,
            "unit": unit,
            "fixed": f"{line.fixed:.3g}",
            "for each MB of the model": f"{line.per_megabyte:.3g}",
        }
        for what, unit, line in lines
    ]
    single = [
        ("a worker, for a poll", "core-ms", costs.poll),
        ("a worker that nobody asks", "cores", costs.idle_cores),
        ("an upstream, to read one more contributor of a partial", "core-ms", costs.contributor),
        ("memory of a worker, for a client that only polls", "kB", costs.connection_kilobytes),
        ("memory of the master, for a contributor of the open round", "kB", costs.contributor_kilobytes),
        ("a contributor in a manifest", "bytes", costs.manifest_bytes),
        ("a contributor in a partial", "bytes", costs.header_bytes),
        ("a partial, for each byte of the model", "bytes", costs.partial_bytes),
    ]
    rows += [{"what": what, "unit": unit, "fixed": f"{value:.3g}"} for what, unit, value in single]
    return table(rows, ["what", "unit", "fixed", "for each MB of the model"])


def _number(value: float) -> str:
    """Return a number with three digits that count, and commas."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


_Column = tuple[str, Callable[[Deployment], str]]
_SCENARIO: Final[tuple[_Column, ...]] = (
    ("clients", lambda d: f"{d.scenario.clients:,}"),
    ("model, MB", lambda d: f"{d.scenario.megabytes:g}"),
    ("round, min", lambda d: f"{d.scenario.round_seconds / 60:g}"),
)
_SERVERS: Final[tuple[_Column, ...]] = (
    ("updates/s", lambda d: _number(d.scenario.updates_per_second)),
    ("workers: for cores", lambda d: f"{d.workers_for_cores:,}"),
    ("for slots", lambda d: f"{d.workers_for_slots:,}"),
    ("taken", lambda d: f"{d.workers:,}"),
    ("middle workers", lambda d: " + ".join(f"{number:,}" for number in d.middle) or "none"),
    ("depth", lambda d: str(d.depth)),
    ("instances", lambda d: f"{d.instances:,}"),
    ("MB of a worker", lambda d: _number(d.worker_memory)),
    ("MB of the master", lambda d: _number(d.master_memory)),
)
_NETWORK: Final[tuple[_Column, ...]] = (
    ("Gbit/s into workers", lambda d: _number(d.in_gigabits)),
    ("Gbit/s out", lambda d: _number(d.out_gigabits)),
    ("clients in a worker's partial", lambda d: _number(d.contributors_per_partial)),
    ("MB/s into the master, and its journal", lambda d: _number(d.master_megabytes_per_second)),
    ("cores of the master", lambda d: _number(d.master_cores)),
    ("S3 writes a round", lambda d: str(d.puts)),
    ("S3 reads", lambda d: str(d.gets)),
    ("MB in S3 a round", lambda d: _number(d.stored_megabytes)),
)
_DOLLARS: Final[tuple[_Column, ...]] = (
    ("servers", lambda d: _number(d.servers)),
    ("load balancer", lambda d: _number(d.balancer)),
    ("S3, kept a month", lambda d: _number(d.s3)),
    ("between zones", lambda d: _number(d.zones)),
    ("a round", lambda d: _number(d.dollars)),
    ("a month", lambda d: _number(d.dollars * d.rounds_per_month)),
    ("to the internet, a round", lambda d: _number(d.internet)),
)


def _rows(deployments: Iterable[Deployment], columns: Sequence[_Column]) -> str:
    shown = [*_SCENARIO, *columns]
    return table([{name: cell(d) for name, cell in shown} for d in deployments], [name for name, _ in shown])


def with_tables(page: str, found: Mapping[str, str]) -> str:
    """Return a page with these tables between its markers.

    Raises
    ------
    SystemExit
        A table has no place in it.
    """
    missing = sorted(found.keys() - {place[2] for place in _MARKED.finditer(page)})
    if missing:
        raise SystemExit(f"the page has no place for: {', '.join(missing)}")
    return _MARKED.sub(lambda place: f"{place[1]}{found[place[2]]}\n{place[3]}", page)


if __name__ == "__main__":
    main()
