"""The report's tables, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks.machine import Machine
from benchmarks.matrix import call_of
from benchmarks.measured import AGGREGATORS, SERVERS, Measured
from benchmarks.perf_samples import IDLE
from benchmarks.profiles import Profile
from benchmarks.recorded import Comparison, Record, SystemResult
from benchmarks.targets import Verdict

_TIERS: Final = ("client", "worker", "master", "s3")
_KEYS: Final = ("clients", "workers", "depth", "megabytes")
_SCALED_TIERS: Final = {
    "worker": "The workers that clients send to",
    "middle": "The worker above them",
    "master": "The master",
    "s3": "S3",
}
_MARKS: Final = {"met": "met", "missed": "**missed**", "not measured": "not measured"}
_NAMED: Final = 8
"""Parts of a tier's time that a profile's table names."""
_LOOKED: Final = " *"
"""Behind (b) where looks at the head are in it."""
_NOTHING: Final = ""


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; all columns but the first are figures."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def targets_table(verdicts: Iterable[Verdict]) -> str:
    """Return the targets beside what was found."""
    rows = [[one.what, one.target, one.found, _MARKS[one.outcome]] for one in verdicts]
    return markdown(["what", "target", "found", ""], rows)


def seconds_table(cells: Mapping[str, Measured]) -> str:
    """Return how long rounds took."""
    head = ["cell", "clients", "at once", "MB", "workers", "rounds", "saved", "counted", "(a) commit"]
    head += ["(b) held", "updates/s", "loopback, GB/s", "ingest / loopback"]
    return markdown(head, [_seconds_row(*cell) for cell in cells.items()])


def _seconds_row(name: str, cell: Measured) -> list[str]:
    rounds = cell.rounds
    return [
        f"`{name}`",
        str(cell.clients),
        str(cell.concurrent),
        f"{cell.megabytes:g}",
        str(cell.workers),
        str(len(rounds)),
        _median([one.saved_seconds for one in rounds]),
        _median([one.counted_seconds for one in rounds]),
        spread([one.commit_seconds for one in rounds if one.commit_seconds is not None]),
        spread([one.held_seconds for one in rounds if one.held_seconds is not None]) + (_LOOKED if cell.looked else ""),
        "" if cell.commit_seconds is None else f"{cell.clients / cell.commit_seconds:,.1f}",
        f"{cell.loopback_gigabytes_per_second:.2f}",
        "" if cell.ingest_over_loopback is None else f"{cell.ingest_over_loopback:.2f}",
    ]


def resources_table(cells: Mapping[str, Measured]) -> str:
    """Return CPU and memory of every tier."""
    head = ["cell", "CPU s/GB: clients", "workers", "master", "S3", "workers and master, ms per update"]
    head += ["peak PSS, MB: clients", "workers", "master", "S3", "servers together"]
    head += ["looks at servers", "VmHWM, MB: clients", "workers", "master", "S3", "servers together"]
    rows = []
    for name, cell in cells.items():
        cpu = [cell.cpu_seconds_per_gigabyte(tier) or 0.0 for tier in _TIERS]
        each = sum(cell.cpu_seconds_per_gigabyte(tier) or 0.0 for tier in AGGREGATORS) * cell.update_bytes / 1e6
        memory = [cell.peak_pss_megabytes(tier) for tier in (*_TIERS, "servers")]
        bounds = [cell.high_water_megabytes(*tiers) for tiers in (*((tier,) for tier in _TIERS), SERVERS)]
        row = [f"`{name}`", *map(_figure, cpu), _figure(each), *(f"{peak:,.0f}" for peak in memory)]
        rows.append([*row, str(cell.server_memory_samples), *(f"{bound:,.0f}" for bound in bounds)])
    return markdown(head, rows)


def machine_table(cells: Mapping[str, Measured]) -> str:
    """Return what the machine was and could do, as each cell found it before it ran."""
    machines = [cell.machine for cell in cells.values()]
    figures = {
        "loopback TCP, one connection, GB/s": [one.loopback_gigabytes_per_second for one in machines],
        "memcpy, GB/s": [one.memcpy_gigabytes_per_second for one in machines],
        "SHA-256, one core, GB/s": [one.sha256_gigabytes_per_second for one in machines],
        "write and fsync, disk, MB/s": [
            cell.machine.fsync_megabytes_per_second for cell in cells.values() if cell.state == "disk"
        ],
    }
    facts = [facts_of(one) for one in machines]
    rows = [[name, "; ".join(sorted({one[name] for one in facts}))] for name in facts[0]]
    if disks := {cell.filesystem for cell in cells.values() if cell.state == "disk"}:
        rows.append(["file system of state, disk", "; ".join(sorted(disks))])
    return markdown(["machine", ""], [*rows, *([name, spread(found)] for name, found in figures.items())])


def profile_table(profile: Profile) -> str:
    """Return what each tier spends a round's processor time on, the most first."""
    whole = sum(sum(parts.values()) for tier, parts in profile.core_ms.items() if tier != IDLE)
    rows = []
    for tier, parts in sorted(profile.core_ms.items(), key=lambda item: -sum(item[1].values())):
        spent = sum(parts.values())
        most = sorted(parts.items(), key=lambda item: -item[1])[:_NAMED]
        words = "" if tier == IDLE else ", ".join(f"{what} {_figure(each)}" for what, each in most)
        rows.append([tier, _figure(spent), "" if tier == IDLE else f"{spent / whole:.0%}", words])
    return markdown(["tier", "core-ms per round", "share", "of these"], rows)


def facts_of(machine: Machine) -> dict[str, str]:
    """Return what a machine is, apart from how fast it was just then."""
    return {
        "processor": f"{machine.processor}, {machine.cores} cores, {machine.memory_gigabytes:g} GB",
        "system": machine.system,
        "Python, NumPy": f"{machine.python}, {machine.numpy}",
    }


def comparison_table(comparison: Comparison) -> str:
    """Return systems beside each other, and each beside ours; below, why runs failed."""
    ours = comparison.ours
    seconds, memory = (ours.median, ours.server_pss_megabytes) if ours else (None, None)
    head = ["system", "version", "runs", "(b) held, s", "times ours", "memory runs", "servers' peak PSS, MB"]
    head += ["times ours", "looks per run, at least", "servers' VmHWM, MB"]
    rows = [
        [
            one.name,
            one.version,
            str(one.runs) if not one.failures else f"{one.runs} of {one.runs + len(one.failures)}",
            spread(one.seconds),
            _ratio(one.median, seconds),
            str(len(one.server_pss_of_runs)),
            spread(one.server_pss_of_runs),
            _ratio(one.server_pss_megabytes, memory),
            _whole(one.memory_samples),
            _whole(one.server_high_water_megabytes),
        ]
        for one in sorted(comparison.results, key=_by_median)
    ]
    failures = [f"- {one.name} failed: {why}" for one in comparison.results for why in one.failures]
    return "\n\n".join(filter(None, (markdown(head, rows), "\n".join(failures))))


def halves_table(accuracy: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Return accuracies, a row per round and a column per upload dtype: the mean and the range of its seeds."""
    of_dtypes = [zip(*of_seeds, strict=True) for of_seeds in accuracy.values()]
    rows = [[str(number), *map(_percent, row)] for number, row in enumerate(zip(*of_dtypes, strict=True))]
    return markdown(["round", *accuracy], rows)


def _percent(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.2%}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.2%} - {max(values):.2%})"


def scale_tables(records: Sequence[Record]) -> str:
    """Return flat records: one table of what concerns all tiers, and one per tier, whose figures bear its name."""
    names = [name for name in dict.fromkeys(name for record in records for name in record) if _is_figure(records, name)]
    keys = [name for name in _KEYS if name in names]
    of_tiers = {tier: [name for name in names if name.startswith(f"{tier}_")] for tier in _SCALED_TIERS}
    general = [name for name in names if name not in keys and not name.startswith(tuple(f"{t}_" for t in of_tiers))]
    tables = [_record_table(records, keys, general, "")]
    for tier, figures in of_tiers.items():
        if figures:
            tables += [f"{_SCALED_TIERS[tier]}:", _record_table(records, keys, figures, f"{tier}_")]
    return "\n\n".join(tables)


def _record_table(records: Sequence[Record], keys: Sequence[str], figures: Sequence[str], prefix: str) -> str:
    head = [*keys, *(name.removeprefix(prefix).replace("_", " ") for name in figures)]
    return markdown(head, [[_figure(record.get(name)) for name in (*keys, *figures)] for record in records])


def calls(cells: Iterable[str]) -> str:
    """Return how to repeat each cell alone."""
    return "\n".join(f"python -m benchmarks.round {' '.join(call_of(cell))}   # {cell}" for cell in cells)


def spread(values: Sequence[float]) -> str:
    """Return the median and the range of some figures."""
    if not values:
        return _NOTHING
    low, median, high = min(values), statistics.median(values), max(values)
    return _figure(median) if low == high else f"{_figure(median)} ({_figure(low)} - {_figure(high)})"


def _median(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _figure(statistics.median(known)) if known else _NOTHING


def _by_median(one: SystemResult) -> float:
    return float("inf") if one.median is None else one.median


def _ratio(value: float | None, ours: float | None) -> str:
    return f"{value / ours:.1f}" if value and ours else _NOTHING


def _whole(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:,.0f}"


def _is_figure(records: Sequence[Record], name: str) -> bool:
    values = [record.get(name) for record in records]
    return all(isinstance(value, int | float | None) and not isinstance(value, bool) for value in values)


def _figure(value: Any) -> str:
    """Return a number with three digits that count."""
    if value is None:
        return _NOTHING
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.3g}"
