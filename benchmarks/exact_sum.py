"""How fast exact sums are, next to a plain copy of the same bytes in the same run.

``python -m benchmarks.exact_sum [--megabytes 100] [--repeats 7] [--json]``

The operations take turns, so that a machine that slows down slows all of them; each
figure is the median of its repeats. One thread; speed is per byte of float32 input.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from fedtier.bounds import check_sum
from fedtier.dtypes import TensorSpec
from fedtier.exact import ExactSum
from fedtier.kinds import SumPlan, check_update, plan_tensor
from fedtier.wire import WireSum, wire_layout, wire_windows

NUM_EXAMPLES = 600
WEIGHT_LIMIT = 1 << 28
COLUMNS = 1000


@dataclass(frozen=True)
class OperationSpeed:
    """Seconds one operation took over all repeats, and what follows from them."""

    operation: str
    median_ms: float
    fastest_ms: float
    slowest_ms: float
    gigabytes_per_second: float
    memcpys: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of exact sums, next to memcpy.")
    parser.add_argument("--megabytes", type=int, default=100, help="float32 input per operation (default 100)")
    parser.add_argument("--repeats", type=int, default=7, help="turns that every operation takes (default 7)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.megabytes < 1 or options.repeats < 1:
        parser.error("--megabytes and --repeats are at least 1")
    rows = max(1, options.megabytes * 1_000_000 // (4 * COLUMNS))
    measured = measure(operations(rows), options.repeats, input_bytes=4 * rows * COLUMNS)
    machine = f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"
    if options.json:
        facts = {"machine": machine, "input_bytes": 4 * rows * COLUMNS, "repeats": options.repeats}
        print(json.dumps({**facts, "operations": [asdict(row) for row in measured]}, indent=2))
    else:
        print(f"{4 * rows * COLUMNS / 1e6:.0f} MB of float32, {options.repeats} repeats, one thread; {machine}\n")
        print(table(measured))


def operations(rows: int) -> Mapping[str, Callable[[], object]]:
    """Return what is measured, by name; memcpy first."""
    values = np.random.default_rng(0).normal(0, 0.05, (rows, COLUMNS)).astype(np.float32)
    update = {"weight": values}
    plan = SumPlan((plan_tensor(TensorSpec("weight", "F32", values.shape), values, WEIGHT_LIMIT),), WEIGHT_LIMIT)
    total, merged, constant = ExactSum(plan), ExactSum(plan), ExactSum(plan)
    constant.fold(update, NUM_EXAMPLES)
    received = on_the_wire(constant)
    copy = np.empty_like(values)

    def check_and_fold() -> None:
        check_update(plan, update)
        total.fold(update, NUM_EXAMPLES)

    def check_and_merge() -> None:
        check_sum(plan, received)
        merged.merge(received)

    def code() -> None:
        for wire in wire_layout(constant):
            for _ in wire_windows(constant, wire):
                pass

    def mean() -> None:
        for _ in constant.mean(plan.tensors[0]):
            pass

    return {
        "memcpy": lambda: np.copyto(copy, values),
        "check": lambda: check_update(plan, update),
        "check + fold": check_and_fold,
        "check + merge from the wire": check_and_merge,
        "code for the wire": code,
        "mean": mean,
        "SHA-256 of the input": lambda: hashlib.sha256(values.data),
    }


def on_the_wire(total: ExactSum) -> WireSum:
    """Return a sum in its compact form, as a receiver holds it."""
    arrays = {}
    for wire in wire_layout(total):
        copies = [[window.copy() for window in windows] for windows in wire_windows(total, wire)]
        for spec, chunks in zip(wire.parts, zip(*copies, strict=True), strict=True):
            arrays[spec.name] = np.concatenate(chunks).reshape(spec.shape)
    return WireSum(total.plan, arrays, total_weight=total.total_weight, contributors=total.contributors)


def measure(timed: Mapping[str, Callable[[], object]], repeats: int, *, input_bytes: int) -> list[OperationSpeed]:
    """Let all operations take turns; the first turn, which touches fresh memory, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(repeats + 1):
        for name, operation in timed.items():
            start = time.perf_counter()
            operation()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(taken[1:]) for name, taken in seconds.items()}
    return [
        OperationSpeed(
            operation=name,
            median_ms=round(medians[name] * 1e3, 2),
            fastest_ms=round(min(taken[1:]) * 1e3, 2),
            slowest_ms=round(max(taken[1:]) * 1e3, 2),
            gigabytes_per_second=round(input_bytes / medians[name] / 1e9, 2),
            memcpys=round(medians[name] / medians["memcpy"], 2),
        )
        for name, taken in seconds.items()
    ]


def table(measured: list[OperationSpeed]) -> str:
    """Return the figures as text."""
    lines = [f"{'operation':<28} {'median ms':>10} {'range ms':>16} {'GB/s':>7} {'memcpys':>8}"]
    for row in measured:
        span = f"{row.fastest_ms:.1f} - {row.slowest_ms:.1f}"
        figures = f"{row.median_ms:>10.1f} {span:>16} {row.gigabytes_per_second:>7.2f} {row.memcpys:>8.2f}"
        lines.append(f"{row.operation:<28} {figures}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
