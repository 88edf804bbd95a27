"""Runs systems in turns and puts their figures side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.peers.programs import RunFailedError
from benchmarks.peers.rounds import Measured, Memory
from benchmarks.peers.systems import System
from benchmarks.peers.task import Task


@dataclass(slots=True)
class Result:
    """All runs of one system.

    Parameters
    ----------
    system : System
    runs : list of Measured
        Those that ended well, and whose seconds count.
    memory : list of Memory
        Of the runs beside them that were for this only.
    failures : list of str
        Why other runs did not end well.
    """

    system: System
    runs: list[Measured] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return this as JSON members; the figures of no run at all are null."""
        seconds = [round(each, 4) for run in self.runs for each in run.seconds]
        pss = [run.server_pss_megabytes for run in self.memory]
        return {
            "system": self.system.system,
            "variant": self.system.variant,
            "version": self.system.version,
            "seconds": seconds,
            "median": round(statistics.median(seconds), 4) if seconds else None,
            "min": min(seconds, default=None),
            "max": max(seconds, default=None),
            "server_pss_megabytes": round(statistics.median(pss), 1) if pss else None,
            "server_pss_of_runs": pss,
            "server_high_water_megabytes": max((run.server_high_water_megabytes for run in self.memory), default=None),
            "memory_samples": min((run.samples for run in self.memory), default=None),
            "runs": len(self.runs),
            "failures": self.failures,
        }

    def add(self, task: Task) -> str:
        """Do one run more, and return a line on it."""
        try:
            measured = self.system.measure(task)
        except RunFailedError as error:
            self.failures.append(f"looking at memory: {error}" if task.memory else str(error))
            return f"{self.system.label}: {self.failures[-1]}"
        if measured.memory is None:
            self.runs.append(measured)
            return f"{self.system.label}: {', '.join(f'{each:.3f}' for each in measured.seconds)} s"
        self.memory.append(measured.memory)
        return f"{self.system.label}: {measured.memory.server_pss_megabytes:.0f} MB, of {measured.memory.samples} looks"


@dataclass(slots=True)
class Comparison:
    """All results so far.

    Parameters
    ----------
    results : list of Result
    loopback : list of float
        What one TCP connection of loopback carried, in GB/s: before the first repeat, between all, after the last.
    """

    results: list[Result]
    loopback: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often all systems play.

    Parameters
    ----------
    timed : int
        Runs whose seconds count, in which nobody looks at memory.
    memory : int
        Runs after these, for the servers' memory.
    """

    timed: int
    memory: int


def in_turns(systems: Sequence[System], repeats: int) -> list[list[System]]:
    """Return the order of the runs of each repeat: all systems once, forwards and backwards by turns.

    So a machine that slows down or speeds up meanwhile favours no system.
    """
    return [list(systems if repeat % 2 == 0 else systems[::-1]) for repeat in range(repeats)]


def compare(
    systems: Sequence[System],
    task: Task,
    repeats: Repeats,
    loopback: Callable[[], float],
    told: Callable[[Comparison, str], None],
) -> Comparison:
    """Run all systems so many times each.

    Parameters
    ----------
    loopback : callable
        Measures GB/s of one connection.
    told : callable
        Gets the results so far after each run, and one line on that run.
    """
    results = {system.label: Result(system) for system in systems}
    comparison = Comparison(list(results.values()), [loopback()])
    for turn in in_turns(systems, repeats.timed):
        for system in turn:
            line = results[system.label].add(task)
            told(comparison, line)
        comparison.loopback.append(loopback())
        told(comparison, f"loopback: {comparison.loopback[-1]:.2f} GB/s")
    for turn in in_turns(systems, repeats.memory):
        for system in turn:
            line = results[system.label].add(replace(task, memory=True))
            told(comparison, line)
    return comparison


def table(results: Sequence[Result]) -> str:
    """Return the figures as lines, one per system."""
    lines = [f"{'system':24s} {'version':>8s} {'median':>9s} {'min':>9s} {'max':>9s} {'server memory':>14s}"]
    for result in results:
        row = result.document()
        if row["median"] is not None:
            memory = row["server_pss_megabytes"]
            lines.append(
                f"{result.system.label:24s} {row['version']:>8s} {row['median']:7.3f} s {row['min']:7.3f} s"
                f" {row['max']:7.3f} s" + ("" if memory is None else f" {memory:11.0f} MB")
            )
        lines += [f"{result.system.label:24s} {row['version']:>8s} FAILED: {why}" for why in result.failures]
    return "\n".join(lines)
