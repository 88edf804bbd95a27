"""Writes what was measured into the README of benchmarks: targets, tables, pictures, and how to repeat them.

``python -m benchmarks.report [--results benchmarks/results] [--readme benchmarks/README.md] [--check]``

Everything between the two markers is made anew from the JSON files in the folder; what is missing there is named. Exit
status 1 with ``--check`` unless all targets are met.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from benchmarks.matrix import RESULTS
from benchmarks.pictures import cells_picture, comparison_picture, scale_picture
from benchmarks.recorded import Comparison, Recorded, read_results
from benchmarks.tables import (
    calls,
    comparison_table,
    facts_of,
    halves_table,
    machine_table,
    profile_table,
    resources_table,
    scale_tables,
    seconds_table,
    targets_table,
)
from benchmarks.targets import verdicts
from fedtier_cli.drawing import write_picture

BEGIN: Final = "<!-- report -->"
END: Final = "<!-- end of the report -->"
README: Final = Path(__file__).parent / "README.md"
_DRAWN: Final = ("worker_core_ms_per_update", "master_core_ms_per_update", "worker_pss_megabytes")
Drawn = Callable[[str, Figure], str]
"""Writes a picture under a name, and returns how the page shows it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; return the exit status."""
    parser = argparse.ArgumentParser(description="Write what was measured into the README of benchmarks.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder (default benchmarks/results)")
    parser.add_argument("--readme", type=Path, default=README, help="page (default benchmarks/README.md)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 unless all targets are met")
    options = parser.parse_args(arguments)
    recorded = read_results(options.results)
    page = options.readme.read_text()
    options.readme.write_text(with_report(page, report(recorded, _drawing(options.results, options.readme))))
    unmet = [one for one in verdicts(recorded) if one.outcome != "met"]
    for one in unmet:
        print(f"{one.outcome}: {one.what}, {one.target}" + (f": {one.found}" if one.found else ""), file=sys.stderr)
    return 1 if options.check and unmet else 0


def with_report(page: str, text: str) -> str:
    """Return a page with this text between its markers.

    Raises
    ------
    ValueError
        It has not got both of them, once, in order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"the page needs {BEGIN} and, after it, {END}, once each")
    return f"{before}{BEGIN}\n{text.strip()}\n{END}{after}"


def report(recorded: Recorded, drawn: Drawn) -> str:
    """Return the text of the report.

    Parameters
    ----------
    recorded : Recorded
    drawn : callable
        See `Drawn`.
    """
    return "\n\n".join(_paragraphs(recorded, drawn))


def _paragraphs(recorded: Recorded, drawn: Drawn) -> Iterator[str]:
    yield "## Targets"
    yield targets_table(verdicts(recorded))
    if recorded.missing:
        yield f"Result files that are missing: {', '.join(f'`{name}`' for name in recorded.missing)}."
    for name, comparison in recorded.comparisons.items():
        yield f"## Beside other systems: {comparison.clients} clients of {comparison.megabytes:g} MB"
        yield (
            f"Medians and ranges of {comparison.rounds} counted rounds in each run; the systems took turns. Servers "
            "are all processes that are not clients." + _steadiness(comparison)
        )
        yield from _machine(recorded, name)
        yield comparison_table(comparison)
        yield drawn(name, comparison_picture(comparison))
    if recorded.cells:
        yield from _rounds(recorded, drawn)
    if recorded.profiles:
        yield from _profiles(recorded)
    if recorded.halves:
        yield "## Half-size updates: accuracy on MNIST"
        seeds = len(next(iter(recorded.halves.values())))
        yield f"Means and ranges of {seeds} seeds." if seeds > 1 else "One seed."
        yield halves_table(recorded.halves)
    for name, records in recorded.scales.items():
        yield f"## {name.replace('-', ': ')}"
        yield from _machine(recorded, name)
        yield scale_tables(records)
        figures = [figure for figure in _DRAWN if any(figure in record for record in records)]
        if figures:
            yield drawn(name, scale_picture(records, figures))


def _profiles(recorded: Recorded) -> Iterator[str]:
    yield "## What a round's processor time goes into"
    yield (
        "Milliseconds of one core per round, as `perf` saw it: by tier, and of each tier the parts that take most. "
        "Functions are named for the kernel and NumPy, else the library; `weed` is the S3 server."
    )
    for profile in recorded.profiles.values():
        seconds, cores = statistics.mean(profile.seconds), profile.machine.cores
        seen = sum(sum(parts.values()) for parts in profile.core_ms.values())
        yield (
            f"{profile.clients} clients of {profile.megabytes:g} MB, {profile.concurrent} at once, workers: "
            f"{profile.workers}; a round took {seconds:.3g} s (mean) on {cores} cores, which `perf` saw "
            f"{seen / (1000 * seconds * cores):.0%} of:"
        )
        yield profile_table(profile)


def _steadiness(comparison: Comparison) -> str:
    if not comparison.loopback:
        return ""
    least, most = min(comparison.loopback), max(comparison.loopback)
    return f" Between repeats, one connection of loopback carried {least:.2f} to {most:.2f} GB/s."


def _machine(recorded: Recorded, name: str) -> Iterator[str]:
    """Say which machine a file is of, unless it is the one of the rounds."""
    if name not in recorded.machines:
        return
    facts = facts_of(recorded.machines[name])
    if any(facts != facts_of(cell.machine) for cell in recorded.cells.values()) or not recorded.cells:
        yield f"Measured on: {'; '.join(facts.values())}."


def _rounds(recorded: Recorded, drawn: Drawn) -> Iterator[str]:
    yield "## Rounds"
    yield (
        "Seconds since all clients were let go, medians (and ranges) of all counted rounds. Saved: the first client "
        "has its update on disk and begins to send. Counted: the master has all updates, and closes the round."
    )
    yield seconds_table(recorded.cells)
    yield "CPU seconds per GB of updates (medians of the repeats), and peak memory (the largest of the repeats):"
    yield resources_table(recorded.cells)
    yield drawn("rounds", cells_picture(recorded.cells))
    yield "## The machine"
    yield machine_table(recorded.cells)
    yield "Each line of the tables alone:"
    yield f"```\n{calls(recorded.cells)}\n```"


def _drawing(folder: Path, readme: Path) -> Drawn:
    def drawn(name: str, figure: Figure) -> str:
        path = folder / f"{name}.svg"
        write_picture(path, figure, "--results")
        return f"![{name}]({os.path.relpath(path, readme.parent)})"

    return drawn


if __name__ == "__main__":
    sys.exit(main())
