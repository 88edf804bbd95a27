"""What the project wants to reach, and whether the results do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.measured import SERVERS, Measured
from benchmarks.recorded import Comparison, Record, Recorded, SystemResult

_PEER: Final = "flower"
_PATHS: Final = frozenset({"legacy", "superlink"})
_CLIENTS, _MANY_CLIENTS = 8, 64
_MEGABYTES, _SMALL_MEGABYTES = 64.0, 0.01


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what was found.

    Parameters
    ----------
    what, target : str
    found : str
        The figure, and what it is made of.
    outcome : {"met", "missed", "not measured"}
    """

    what: str
    target: str
    found: str = ""
    outcome: Literal["met", "missed", "not measured"] = "not measured"

    def judged(self, found: str, *, met: bool) -> Verdict:
        """Return this target with what was found."""
        return Verdict(self.what, self.target, found, "met" if met else "missed")


def verdicts(recorded: Recorded) -> list[Verdict]:
    """Return every target, each beside what was found."""
    return [
        _faster_than_the_better_path(recorded),
        _in_a_quarter_of_its_memory(recorded),
        *(_flat_memory(recorded, *group) for group in (("servers", "with S3"), ("aggregators", "without S3"))),
        _ingest(recorded),
        _small_round(recorded),
        _updates_per_second(recorded),
        _flat_cost(recorded),
        _exactness(recorded),
    ]


def _faster_than_the_better_path(recorded: Recorded) -> Verdict:
    verdict = Verdict("8 x 64 MB, round (b), against the better Flower path", ">= 10 times faster")
    sides = _sides(recorded, lambda one: one.median)
    if sides is None:
        return verdict
    ours, other, path = sides
    return verdict.judged(f"{other / ours:.1f} times: {ours:.2f} s, {path.name} {other:.2f} s", met=other >= 10 * ours)


def _in_a_quarter_of_its_memory(recorded: Recorded) -> Verdict:
    verdict = Verdict("peak memory of all servers together, against the better Flower path's", "<= 1/4")
    sides = _sides(recorded, lambda one: one.server_pss_megabytes)
    if sides is None:
        return verdict
    ours, other, path = sides
    found = f"{ours / other:.3f}: {ours:,.0f} MB, {path.name} {other:,.0f} MB"
    bounds = _sides(recorded, lambda one: one.server_high_water_megabytes)
    if bounds is not None:
        found += (
            f"; of the bounds by VmHWM, which count shared pages again for each process, {bounds[0] / bounds[1]:.3f}"
        )
    return verdict.judged(found, met=ours <= other / 4)


def _flat_memory(recorded: Recorded, group: str, words: str) -> Verdict:
    verdict = Verdict(f"servers' memory at 64 clients over memory at 8, 8 at once ({words})", "<= 1.05")
    few, many = recorded.cells.get("64mb-1w"), recorded.cells.get("64mb-64-clients")
    if (
        few is None
        or many is None
        or not _is_eight_at_once(few, _CLIENTS)
        or not _is_eight_at_once(many, _MANY_CLIENTS)
    ):
        return verdict
    before, after = few.peak_pss_megabytes(group), many.peak_pss_megabytes(group)
    return verdict.judged(f"{after / before:.2f}: {after:,.0f} MB, {before:,.0f} MB", met=after <= 1.05 * before)


def _ingest(recorded: Recorded) -> Verdict:
    verdict = Verdict(
        "ingest: update bytes of 8 x 64 MB until the round is in S3, over raw loopback TCP; fastest of 1, 2, 4 workers",
        ">= 0.5",
    )
    best = _best(recorded, _MEGABYTES, lambda cell: cell.commit_seconds or float("inf"))
    if best is None or best[1].commit_seconds is None or best[1].ingest_over_loopback is None:
        return verdict
    name, cell, seconds = *best, best[1].commit_seconds
    share, sent = best[1].ingest_over_loopback, cell.clients * cell.update_bytes / 1e9
    speeds = f"{sent / seconds:.2f} GB/s, {cell.loopback_gigabytes_per_second:.2f} GB/s"
    return verdict.judged(f"{share:.2f}: {speeds} ({name})", met=share >= 0.5)


def _small_round(recorded: Recorded) -> Verdict:
    verdict = Verdict("0.01 MB, 8 clients, whole round (b); best of 1, 2, 4 workers", "<= 0.15 s")
    best = _best(recorded, _SMALL_MEGABYTES, lambda cell: cell.held_seconds or float("inf"))
    if best is None or best[1].held_seconds is None:
        return verdict
    name, held = best[0], best[1].held_seconds
    return verdict.judged(f"{held:.3f} s ({name})", met=held <= 0.15)


def _updates_per_second(recorded: Recorded) -> Verdict:
    verdict = Verdict("1.7 MB: updates per second through two workers, per core; best number of clients", ">= 150")
    found = [
        (record["updates_per_second"], record["clients"], _core_ms_per_update(record))
        for record in _updates(recorded)
        if (record["workers"], record["depth"]) == (2, 2)
    ]
    if not found or recorded.cores is None:
        return verdict
    most, clients, core_ms = max(found)
    each = most / recorded.cores
    words = f"{each:.0f}: {most:.0f} of {clients} clients, on {recorded.cores} cores, clients' share included"
    servers = f"servers spend {core_ms:.1f} core-ms on one, which is {1000 / core_ms:.0f} per core of theirs"
    return verdict.judged(f"{words}; {servers}", met=each >= 150)


def _flat_cost(recorded: Recorded) -> Verdict:
    verdict = Verdict(
        "1.7 MB: servers' core-ms per update at 1,000 clients over those at 100; worst of all workers and depths",
        "<= 1.05",
    )
    costs: dict[tuple[int, int], dict[int, float]] = {}
    for record in _updates(recorded):
        shape = record["workers"], record["depth"]
        costs.setdefault(shape, {})[record["clients"]] = _core_ms_per_update(record)
    ratios = [
        (of_clients[1000] / of_clients[100], of_clients[1000], of_clients[100], shape)
        for shape, of_clients in costs.items()
        if {100, 1000} <= of_clients.keys()
    ]
    if not ratios:
        return verdict
    ratio, many, few, (workers, depth) = max(ratios)
    found = f"{ratio:.2f}: {many:.2f}, {few:.2f} (workers: {workers}, depth: {depth})"
    return verdict.judged(found, met=ratio <= 1.05)


def _updates(recorded: Recorded) -> list[Record]:
    """Return what `benchmarks.scale updates` found for models of 1.7 MB."""
    return [
        record
        for records in recorded.scales.values()
        for record in records
        if record.get("megabytes") == 1.7 and "updates_per_second" in record
    ]


def _core_ms_per_update(record: Record) -> float:
    """Return what all servers together spend on an update."""
    tiers = (*SERVERS, "middle")
    return sum(float(record.get(f"{tier}_core_ms_per_update") or 0.0) for tier in tiers)


def _exactness(recorded: Recorded) -> Verdict:
    verdict = Verdict("exactness: the SHA-256 of every round is that of the reference sum", "always")
    if not recorded.cells:
        return verdict
    digests = sum(len(run.model_sha256) for cell in recorded.cells.values() for run in cell.runs)
    scaled = sum(_compared(record) for records in recorded.scales.values() for record in records)
    wrong = [name for name, cell in recorded.cells.items() if not cell.exact]
    found = f"{digests} rounds" + (f" and {scaled} of scale" if scaled else "")
    return verdict.judged(found + (f", not in {', '.join(wrong)}" if wrong else ""), met=not wrong)


def _compared(record: Record) -> int:
    """Return the rounds of a scale record that were compared: it would not be there if one had differed."""
    if record.get("benchmark") == "updates":
        return int(record.get("rounds", 0)) + 1  # the one that warms up is compared, too
    return 1 if record.get("benchmark") == "contributors" else 0


def _is_eight_at_once(cell: Measured, clients: int) -> bool:
    return (cell.clients, cell.concurrent, cell.megabytes) == (clients, _CLIENTS, _MEGABYTES)


def _sides(
    recorded: Recorded, figure: Callable[[SystemResult], float | None]
) -> tuple[float, float, SystemResult] | None:
    """Return our figure, the smallest one of a Flower path, and that path; None unless both paths have one."""
    comparison = _comparison(recorded)
    if comparison is None or comparison.ours is None:
        return None
    ours = figure(comparison.ours)
    others = [(value, one) for one in comparison.of(_PEER) if (value := figure(one)) is not None]
    if not ours or not {one.variant for _, one in others} >= _PATHS:
        return None
    value, path = min(others, key=lambda pair: pair[0])
    return ours, value, path


def _comparison(recorded: Recorded) -> Comparison | None:
    wanted = (_CLIENTS, _MEGABYTES)
    return next((one for one in recorded.comparisons.values() if (one.clients, one.megabytes) == wanted), None)


def _best(recorded: Recorded, megabytes: float, cost: Callable[[Measured], float]) -> tuple[str, Measured] | None:
    """Return the cheapest of some cells that hold float32 updates of eight clients, on a disk."""
    cells = [
        (name, cell)
        for name, cell in recorded.cells.items()
        if (cell.clients, cell.megabytes) == (_CLIENTS, megabytes)
        and cell.upload_dtype == "float32"
        and cell.state == "disk"
    ]
    return min(cells, key=lambda pair: cost(pair[1])) if cells else None
