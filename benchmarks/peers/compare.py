"""Runs systems in turns and puts their figures side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from benchmarks.peers.programs import RunFailedError
from benchmarks.peers.rounds import Measured
from benchmarks.peers.systems import System
from benchmarks.peers.task import Task

OFTEN: Final = 0.5
"""The part of a core that looks at memory may take where seconds do not count."""


@dataclass(slots=True)
class Result:
    """All runs of one system.

    Parameters
    ----------
    system : System
    runs : list of Measured
        Those that ended well.
    looked : list of Measured
        Runs whose seconds do not count, for the servers' memory was looked at often in them.
    failures : list of str
        Why the others did not.
    """

    system: System
    runs: list[Measured] = field(default_factory=list)
    looked: list[Measured] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return this as JSON members; the figures of no run at all are null."""
        seconds = [round(each, 4) for run in self.runs for each in run.seconds]
        seen = self.looked or self.runs
        memory = [run.server_pss_megabytes for run in seen]
        return {
            "system": self.system.system,
            "variant": self.system.variant,
            "version": self.system.version,
            "seconds": seconds,
            "median": round(statistics.median(seconds), 4) if seconds else None,
            "min": min(seconds, default=None),
            "max": max(seconds, default=None),
            "server_pss_megabytes": round(statistics.median(memory), 1) if memory else None,
            "server_high_water_megabytes": max((run.server_high_water_megabytes for run in seen), default=None),
            "memory_samples": min((run.memory_samples for run in seen), default=None),
            "runs": len(self.runs),
            "memory_runs": len(seen),
            "failures": self.failures,
        }


def in_turns(systems: Sequence[System], repeats: int) -> list[System]:
    """Return the order of all runs: all systems once per repeat, forwards and backwards by turns.

    So a machine that slows down or speeds up meanwhile favours no system.
    """
    order: list[System] = []
    for repeat in range(repeats):
        order += systems if repeat % 2 == 0 else systems[::-1]
    return order


def compare(
    systems: Sequence[System],
    task: Task,
    repeats: int,
    told: Callable[[Sequence[Result], str], None],
    *,
    memory_repeats: int = 0,
) -> list[Result]:
    """Run all systems so many times each.

    Parameters
    ----------
    memory_repeats : int
        Further runs of each, for memory alone.
    told : callable
        Gets the results so far after each run, and one line on that run.
    """
    results = {system.label: Result(system) for system in systems}
    looking = replace(task, memory_looks=OFTEN)
    runs = [(system, task) for system in in_turns(systems, repeats)]
    runs += [(system, looking) for system in in_turns(systems, memory_repeats)]
    for system, asked in runs:
        result = results[system.label]
        try:
            measured = system.measure(asked)
        except RunFailedError as error:
            result.failures.append(str(error))
            line = f"{system.label}: {error}"
        else:
            (result.looked if asked is looking else result.runs).append(measured)
            seconds = ", ".join(f"{each:.3f}" for each in measured.seconds)
            looks = f"{measured.server_pss_megabytes:.0f} MB in {measured.memory_samples} looks"
            line = f"{system.label}: {seconds} s; {looks}"
        told(list(results.values()), line)
    return list(results.values())


def table(results: Sequence[Result]) -> str:
    """Return the figures as lines, one per system."""
    lines = [f"{'system':24s} {'version':>8s} {'median':>9s} {'min':>9s} {'max':>9s} {'server memory':>14s}"]
    for result in results:
        row = result.document()
        if row["median"] is not None:
            lines.append(
                f"{result.system.label:24s} {row['version']:>8s} {row['median']:7.3f} s {row['min']:7.3f} s"
                f" {row['max']:7.3f} s {row['server_pss_megabytes']:11.0f} MB"
            )
        lines += [f"{result.system.label:24s} {row['version']:>8s} FAILED: {why}" for why in result.failures]
    return "\n".join(lines)
