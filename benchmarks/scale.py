"""What an update, a poll and a contributor cost, as clients, workers and tiers become more.

``python -m benchmarks.scale updates [--clients 10 100 1000] [--workers 1 2 4 8] [--depth 2 3] [--megabytes 1.7]``
``python -m benchmarks.scale idle [--clients 10 100 1000] [--workers 1]``
``python -m benchmarks.scale contributors [--clients 10 100 1000 10000]``

Real processes on this machine, started as a local run starts them; clients are connections of `benchmarks.load`, each
with an id and a token of its own. ``--out FILE`` writes the records so far after each cell, as JSON: one flat object
for each. Every round's model is compared with a sum that was computed without fedtier.

CPU is that of whole tiers, from outside, divided by what they did: what has to stay flat as clients become more.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.ending import end_when_told
from benchmarks.machine import this_machine
from benchmarks.scale_cell import Figures
from benchmarks.scale_contributors import measure_contributors
from benchmarks.scale_idle import measure_idle
from benchmarks.scale_tiers import Tree
from benchmarks.scale_updates import measure_updates
from benchmarks.tables import markdown

_LEAST_ROUNDS: Final = 3
_MOST_ROUNDS: Final = 50
_SHOWN: Final = {
    "updates": (
        "clients workers depth updates_per_second p50_ms p95_ms p99_ms worker_core_ms_per_update "
        "middle_core_ms_per_update master_core_ms_per_update worker_core_ms_per_download "
        "worker_pss_megabytes middle_pss_megabytes master_pss_megabytes"
    ),
    "idle": (
        "clients workers poll_after polls_per_second p99_ms worker_cores worker_cores_without_clients "
        "worker_core_ms_per_poll worker_pss_megabytes"
    ),
    "contributors": (
        "clients updates_per_second worker_core_ms_per_update_first_half worker_core_ms_per_update_second_half "
        "master_core_ms_per_update_first_half master_core_ms_per_update_second_half closing_ms "
        "journal_commit_bytes manifest_bytes_per_contributor partial_header_bytes_per_contributor"
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description="What grows with clients, workers and tiers, and what does not.")
    parser.add_argument("benchmark", choices=tuple(_SHOWN))
    parser.add_argument("--clients", type=_positive, nargs="+", help="(default 10 100 1000, and 10000 contributors)")
    parser.add_argument("--workers", type=_positive, nargs="+", default=[2], help="on one port (default 2)")
    parser.add_argument("--depth", type=int, choices=(2, 3), nargs="+", default=[2], help="tiers (default 2)")
    parser.add_argument("--megabytes", type=float, default=1.7, help="of an update, for updates (default 1.7)")
    parser.add_argument("--concurrent", type=_positive, default=32, help="transfers at once (default 32)")
    parser.add_argument("--updates", type=_positive, default=2000, help="in all rounds of a cell together")
    parser.add_argument("--settle", type=float, default=45.0, help="seconds before idle counts (default 45)")
    parser.add_argument("--seconds", type=float, default=30.0, help="for which idle counts (default 30)")
    parser.add_argument("--out", type=Path, help="file for the records")
    options = parser.parse_args(arguments)
    measure = _MEASURES[options.benchmark]
    machine = None if options.out is None else asdict(this_machine(options.out.parent))
    records = []
    clients = options.clients or [10, 100, 1000, *([10_000] if options.benchmark == "contributors" else [])]
    for depth, workers, count in itertools.product(options.depth, options.workers, clients):
        print(f"{options.benchmark}: {count} clients, {workers} workers, depth {depth}", file=sys.stderr, flush=True)
        records.append(measure(Tree(workers, depth), count, options))
        if options.out is not None:
            options.out.write_text(json.dumps({"machine": machine, "records": records}, indent=1) + "\n")
    print(shown(records, _SHOWN[options.benchmark].split()))


def _updates(tree: Tree, clients: int, options: argparse.Namespace) -> Figures:
    rounds = min(max(options.updates // clients, _LEAST_ROUNDS), _MOST_ROUNDS)
    return measure_updates(tree, clients, options.megabytes, rounds=rounds, concurrent=options.concurrent)


def _idle(tree: Tree, clients: int, options: argparse.Namespace) -> Figures:
    return measure_idle(tree, clients, settle=options.settle, seconds=options.seconds)


def _contributors(tree: Tree, clients: int, options: argparse.Namespace) -> Figures:
    return measure_contributors(tree, clients, concurrent=options.concurrent)


_MEASURES: Final[dict[str, Callable[[Tree, int, argparse.Namespace], Figures]]] = {
    "updates": _updates,
    "idle": _idle,
    "contributors": _contributors,
}


def shown(records: Sequence[Figures], columns: Sequence[str]) -> str:
    """Return records as a table in Markdown, without columns that none of them has."""
    kept = [column for column in columns if any(column in record for record in records)]
    return markdown(kept, [[str(record.get(column, "")) for column in kept] for record in records])


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


if __name__ == "__main__":
    end_when_told()
    main()
