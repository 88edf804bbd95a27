"""Small results, as benchmarks would have written them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import Machine
from benchmarks.measured import Measured, Round, Run

MACHINE = Machine("a processor", "Linux 1", "3.11.0", "2.0.0", 2, 16.0, 2.0, 5.0, 1.0, 300)


def a_cell(
    *,
    clients: int = 8,
    megabytes: float = 64.0,
    workers: int = 1,
    commit: float = 1.0,
    held: float | None = 1.5,
    servers: float = 600.0,
    exact: bool = True,
) -> Measured:
    tiers = {"s3": 100.0, "master": 200.0, "worker": 300.0, "client": 900.0}
    rounds = tuple(Round(number, 0.1, commit / 2, commit, held) for number in (2, 3))
    run = Run(
        rounds=rounds,
        cpu_seconds=dict.fromkeys(tiers, 1.0),
        cpu_seconds_per_gigabyte=dict.fromkeys(tiers, 0.5),
        peak_pss_megabytes={**tiers, "aggregators": servers - 100, "servers": servers},
        high_water_megabytes=tiers,
        server_memory_samples=10,
        client_memory_samples=3,
        model_sha256=("0" * 64,) * 3,
        exact=exact,
        loopback_gigabytes_per_second=(1.5, 2.5),
    )
    update_bytes = round(megabytes * 1e6)
    return Measured(
        clients, min(clients, 8), megabytes, update_bytes, workers, "float32", "disk", MACHINE, (run,), "ext4"
    )


def write_cell(folder: Path, name: str, cell: Measured) -> None:
    (folder / f"{name}.json").write_text(json.dumps(asdict(cell)))


def write_comparison(folder: Path, systems: Mapping[tuple[str, str], tuple[float, float] | None]) -> None:
    """Write seconds and megabytes of systems; None is one whose runs all failed."""
    results: list[dict[str, Any]] = []
    for (system, variant), found in systems.items():
        seconds, megabytes = found or (None, None)
        results.append(
            {
                "system": system,
                "variant": variant,
                "version": "1.0",
                "seconds": [] if seconds is None else [seconds],
                **dict.fromkeys(("median", "min", "max"), seconds),
                "server_pss_megabytes": megabytes,
                "server_pss_of_runs": [] if megabytes is None else [megabytes],
                "server_high_water_megabytes": megabytes,
                "memory_samples": 20 if found else None,
                "runs": 1 if found else 0,
                "failures": [] if found else ["it hung"],
            }
        )
    document = {"machine": asdict(MACHINE), "clients": 8, "megabytes": 64, "rounds": 2, "results": results}
    (folder / "peers-64mb.json").write_text(json.dumps(document))


def write_scale(folder: Path, updates_per_second: float) -> None:
    record = {
        "benchmark": "updates",
        "clients": 100,
        "workers": 2,
        "depth": 2,
        "megabytes": 1.7,
        "updates_per_second": updates_per_second,
        "worker_core_ms_per_update": 3.5,
        "master_core_ms_per_update": 1.0,
        "s3_core_ms_per_update": 0.5,
    }
    document = {"machine": asdict(MACHINE), "records": [record, {**record, "clients": 10}]}
    (folder / "scale-updates.json").write_text(json.dumps(document))
