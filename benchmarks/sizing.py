"""Writes tables and figures of docs/scaling.md: what `benchmarks.scale` measured, and what `sizing_model` makes of it.

``python -m benchmarks.sizing [--results benchmarks/results] [--write docs/scaling.md]``

Reads all records in ``scale*.json``. Without ``--write`` tables and figures are printed. What stands on the page
between ``<!-- sizing: NAME -->`` and ``<!-- end -->`` is written anew: a table on its own lines, or a figure amid a
sentence.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.recorded import Record
from benchmarks.sizing_inputs import Costs, Curve, Prices, Scenario
from benchmarks.sizing_model import SLOTS, THREADS, Deployment, size
from benchmarks.sizing_partials import BATCH_MAX, most_in_a_partial
from benchmarks.sizing_records import CLIENTS, WORKERS, cells_by_size, costs_of, read_records
from benchmarks.tables import markdown
from fedtier.partial_headers import PARTIAL_HEADER_LIMIT
from fedtier.serving.pacing import POLLS_PER_SECOND, SLOWEST

_SIZES: Final = (1.7, 64.0, 400.0)
_CROWDS: Final = ((10_000, 600.0), (1_000_000, 3600.0))
"""Clients, and the seconds of a round of theirs."""
SCENARIOS: Final = tuple(
    Scenario(clients=clients, megabytes=megabytes, round_seconds=seconds)
    for clients, seconds in _CROWDS
    for megabytes in _SIZES
)
_MARKED: Final = re.compile(r"(<!-- sizing: (\w+) -->)(\n?).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description="What a deployment takes, from what was measured.")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="folder of scale*.json")
    parser.add_argument("--write", type=Path, help="page whose marked tables are written anew")
    options = parser.parse_args(arguments)
    records, machine = read_records(options.results)
    found = written(records, machine)
    if options.write is None:
        print("\n\n".join(f"{name}:\n{text}" for name, text in found.items()))
    else:
        options.write.write_text(with_written(options.write.read_text(), found))


def written(records: Sequence[Record], machine: Mapping[str, Any]) -> dict[str, str]:
    """Return tables and figures by the names of their places in the page."""
    costs, prices = costs_of(records), Prices()
    deployments = [size(costs, scenario, prices) for scenario in SCENARIOS]
    priced = [[name.replace("_", " "), f"{getattr(prices, name):g}"] for name in prices.__slots__]
    return {
        "machine": "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in machine.items()),
        "sizes": _sizes_table(costs),
        "costs": _costs_table(costs),
        "partials": markdown(
            ["contributors of a partial", "bytes for each byte of the model"],
            [[_number(count), f"{value:.2f}"] for count, value in costs.partial_bytes.places[:-1]],
        ),
        "servers": _rows(deployments, _SERVERS),
        "network": _rows(deployments, _NETWORK),
        "store": _rows(deployments, _STORE),
        "dollars": _rows(deployments, _DOLLARS),
        "prices": markdown(["price", "value"], priced),
        **_figures(records, costs, prices),
    }


def _figures(records: Sequence[Record], costs: Costs, prices: Prices) -> dict[str, str]:
    """Return what sentences say."""
    use = SCENARIOS[0].use
    large, megabits = max(_SIZES), SCENARIOS[0].client_megabits
    return {
        "measured": ", ".join(
            f"{cell['megabytes']:g} MB with {cell['clients']} clients" for cell in cells_by_size(records)
        ),
        "measured_workers": str(WORKERS),
        "measured_clients": str(CLIENTS),
        "largest_measured": f"{costs.update.places[-1][0]:g}",
        "most_contributors": f"{max(one['clients'] for one in records if one['benchmark'] == 'contributors'):,}",
        "partial_contributors": _number(
            max(one["contributors_per_partial"] for one in records if one["benchmark"] == "updates")
        ),
        "use": f"{use:.0%}".replace("%", " %"),
        "polls": f"{POLLS_PER_SECOND:g}",
        "slowest": f"{SLOWEST:g}",
        "polling": f"{POLLS_PER_SECOND * SLOWEST:,.0f}",
        "threads": str(THREADS),
        "slots": str(SLOTS),
        "large": f"{large:g}",
        "transfer": f"{large * 8 / megabits:.0f}",
        "megabits": f"{megabits:g}",
        "batch": str(BATCH_MAX),
        "header": f"{PARTIAL_HEADER_LIMIT >> 20} MiB",
        "named": _rounded(most_in_a_partial(costs, 1.0, 9)),
        "gigabits": f"{prices.instance_gigabits:g}",
        "link": f"{prices.link_megabytes * use:.0f}",
        "disk": f"{prices.instance_disk_megabytes * use:.0f}",
    }


def _rounded(value: float) -> str:
    return f"{math.floor(value / 1000) * 1000:,}"


def _sizes_table(costs: Costs) -> str:
    curves = [
        ("a worker, for an update", "core-ms", costs.update),
        ("a worker, for a model that a client gets", "core-ms", costs.download),
        ("an upstream, for a partial", "core-ms", costs.partial),
        ("memory of a worker", "MB", costs.worker_memory),
        ("memory of the master", "MB", costs.master_memory),
    ]
    sizes = [f"{megabytes:g} MB" for megabytes, _ in costs.update.places]
    return markdown(
        ["what", "unit", *sizes, "each MB beyond"],
        [
            [what, unit, *(_number(value) for _, value in curve.places), _number(_slope(curve))]
            for what, unit, curve in curves
        ],
    )


def _slope(curve: Curve) -> float:
    end = curve.places[-1][0]
    return curve.at(end + 1) - curve.at(end)


def _costs_table(costs: Costs) -> str:
    single = [
        ("a worker, for a poll", "core-ms", costs.poll),
        ("a worker that nobody asks", "cores", costs.idle_cores),
        ("an upstream, to read one more contributor of a partial", "core-ms", costs.contributor),
        ("memory of a worker, for a client that only polls", "kB", costs.connection_kilobytes),
        ("memory of the master, for a contributor of the open round", "kB", costs.contributor_kilobytes),
        ("a contributor in a manifest", "bytes", costs.manifest_bytes),
        ("a contributor in a partial", "bytes", costs.header_bytes),
    ]
    return markdown(["what", "unit", ""], [[what, unit, f"{value:.3g}"] for what, unit, value in single])


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
    ("Gbit/s into workers", lambda d: _number(d.traffic.into_workers * 8 / 1000)),
    ("Gbit/s out of workers", lambda d: _number(d.traffic.out_of_workers * 8 / 1000)),
    ("GB/s on workers' disks", lambda d: _number(d.traffic.written / 1000)),
    ("clients in a worker's partial", lambda d: _number(d.traffic.held[0])),
    ("in one for the master", lambda d: _number(d.traffic.held[-1])),
    ("MB/s into the master, and its journal", lambda d: _number(d.traffic.into_master)),
    ("MB/s out of it", lambda d: _number(d.traffic.out_of_master)),
    ("cores of the master", lambda d: _number(d.master_cores)),
    ("s, a new model to all workers", lambda d: _number(d.traffic.spread_seconds)),
)
_STORE: Final[tuple[_Column, ...]] = (
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
    return markdown([name for name, _ in shown], [[cell(d) for _, cell in shown] for d in deployments])


def with_written(page: str, found: Mapping[str, str]) -> str:
    """Return a page with these tables and figures between its markers.

    Raises
    ------
    SystemExit
        One has no place in it, or a place has a name that none of them bears.
    """
    places = {place[2] for place in _MARKED.finditer(page)}
    if missing := sorted(found.keys() - places):
        raise SystemExit(f"the page has no place for: {', '.join(missing)}")
    if unknown := sorted(places - found.keys()):
        raise SystemExit(f"nothing is written for the page's: {', '.join(unknown)}")
    return _MARKED.sub(lambda place: f"{place[1]}{place[3]}{found[place[2]]}{place[3]}{place[4]}", page)


if __name__ == "__main__":
    main()
