"""``python -m benchmarks.peers compare [--clients 8] [--megabytes 64] [--rounds 3] [--out FILE] ...``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.ending import end_when_told
from benchmarks.machine import loopback_gigabytes_per_second, this_machine
from benchmarks.peers.compare import Comparison, Repeats, compare, table
from benchmarks.peers.systems import systems
from benchmarks.peers.task import Task
from benchmarks.peers.work import make_arrays


def main(words: Sequence[str] | None = None) -> int:
    """Compare, print a table, and write JSON; return 1 where a run failed."""
    every = {system.label: system for system in systems()}
    options = _options(words, list(every))
    machine = asdict(this_machine(Path(tempfile.gettempdir())))

    def told(comparison: Comparison, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        if options.out:
            document = {"machine": machine, "clients": options.clients, "megabytes": options.megabytes}
            document |= {"rounds": options.rounds, "loopback": comparison.loopback}
            document |= {"results": [result.document() for result in comparison.results]}
            options.out.write_text(json.dumps(document, indent=1) + "\n")

    with tempfile.TemporaryDirectory(prefix="fedtier-peers-") as folder:
        task = Task(
            clients=options.clients,
            megabytes=options.megabytes,
            rounds=options.rounds,
            arrays=Path(folder),
            cache=options.cache,
            patience=options.patience,
            logs=options.logs,
        )
        make_arrays(task.arrays, task.outline, task.clients)
        repeats = Repeats(options.repeats, options.memory_repeats)
        comparison = compare([every[label] for label in options.systems], task, repeats, _loopback, told)
    print(table(comparison.results))
    return 1 if any(result.failures for result in comparison.results) else 0


def _loopback() -> float:
    return round(loopback_gigabytes_per_second(), 2)


def _options(words: Sequence[str] | None, labels: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("compare", help="play all systems in turns", description="Play all systems in turns.")
    command.add_argument("--clients", type=int, default=8, help="processes that send an update (default 8)")
    command.add_argument("--megabytes", type=float, default=64, help="float32 in an update (default 64)")
    command.add_argument("--repeats", type=int, default=5, help="runs of each system (default 5)")
    command.add_argument(
        "--memory-repeats", type=int, default=3, help="runs after these that only look at memory (default 3)"
    )
    command.add_argument("--rounds", type=int, default=3, help="measured rounds in a run, after one (default 3)")
    command.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "fedtier-peers", help="for peers' venvs"
    )
    command.add_argument("--systems", nargs="+", choices=labels, default=labels, help="which (default all)")
    command.add_argument("--patience", type=float, default=120, help="seconds that a round may take (default 120)")
    command.add_argument("--logs", type=Path, help="folder for what the programs of failed runs said")
    command.add_argument("--out", type=Path, help="write the results so far after each run, as JSON")
    options = parser.parse_args(words)
    if min(options.clients, options.repeats, options.rounds) < 1 or options.megabytes <= 0:
        parser.error("everything but memory repeats has to be more than 0")
    if options.memory_repeats < 0:
        parser.error("memory repeats are 0 or more")
    return options


if __name__ == "__main__":
    end_when_told()
    sys.exit(main())
