"""Runs `benchmarks.round` for every size, number of workers and way of storing that the report has a line for.

``python -m benchmarks.matrix [--only 'GLOB'] [--results benchmarks/results]``

Each cell is a process of its own, and writes ``<cell>.json``. One that fails does not keep the next from running;
the exit status says so. ``--small`` plays few clients and small models, to see that everything works.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks.ending import end_when_told

RESULTS: Final = Path(__file__).parent / "results"
_LONGEST_SECONDS: Final = 3600.0
_SMALL: Final = {"--clients": "3", "--megabytes": "0.02", "--rounds": "2", "--repeats": "1"}


def _cell(megabytes: float, workers: int, *, rounds: int, repeats: int = 1, **more: str) -> Mapping[str, str]:
    flags = {"megabytes": f"{megabytes:g}", "workers": str(workers), "rounds": str(rounds), "repeats": str(repeats)}
    return {f"--{name.replace('_', '-')}": value for name, value in {**flags, **more}.items()}


CELLS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "0.01mb-1w": _cell(0.01, 1, rounds=20),
        "0.01mb-2w": _cell(0.01, 2, rounds=20),
        "0.01mb-4w": _cell(0.01, 4, rounds=20),
        "0.01mb-memory": _cell(0.01, 1, rounds=20, state="memory"),
        "1.7mb-1w": _cell(1.7, 1, rounds=10),
        "1.7mb-2w": _cell(1.7, 2, rounds=10),
        "1.7mb-4w": _cell(1.7, 4, rounds=10),
        "1.7mb-500-clients-2w": _cell(1.7, 2, rounds=3, clients="500", concurrent="32"),
        "64mb-1w": _cell(64, 1, rounds=6, repeats=3),
        "64mb-2w": _cell(64, 2, rounds=6, repeats=3),
        "64mb-4w": _cell(64, 4, rounds=6),
        "64mb-memory": _cell(64, 1, rounds=6, state="memory"),
        "64mb-bf16": _cell(64, 1, rounds=6, upload_dtype="bfloat16"),
        "64mb-f16": _cell(64, 1, rounds=6, upload_dtype="float16"),
        "64mb-64-clients": _cell(64, 1, rounds=5, repeats=3, clients="64", concurrent="8"),
        "400mb-1w": _cell(400, 1, rounds=4),
        "400mb-2w": _cell(400, 2, rounds=4),
        "400mb-4w": _cell(400, 4, rounds=4),
        "2gb-1w": _cell(2000, 1, rounds=2, clients="2"),
    }
)
"""Flags of `benchmarks.round`, by the name of the file that they give."""


def call_of(cell: str) -> list[str]:
    """Return the arguments of `benchmarks.round` for a cell."""
    return [word for pair in CELLS[cell].items() for word in pair]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells; return the exit status."""
    parser = argparse.ArgumentParser(description="Measure all cells of the report's tables.")
    parser.add_argument("--only", default="*", help="cells whose name matches this, such as '64mb-*'")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder (default benchmarks/results)")
    parser.add_argument("--small", action="store_true", help="few clients and small models, to see that it works")
    options = parser.parse_args(arguments)
    chosen = [name for name in CELLS if fnmatch(name, options.only)]
    if not chosen:
        parser.error(f"--only {options.only} is none of {', '.join(CELLS)}")
    failed = [name for name in chosen if not _run(name, options.results, small=options.small)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(cell: str, results: Path, *, small: bool) -> bool:
    flags = dict(CELLS[cell])
    if small:
        flags.update(_SMALL)
        if "--concurrent" in flags:
            flags["--concurrent"] = "2"
    words = [word for pair in flags.items() for word in pair]
    started = time.monotonic()
    print(f"== {cell}: {' '.join(words)}", flush=True)
    out = results / f"{cell}.json"
    out.unlink(missing_ok=True)  # a cell that fails is missing from the report, rather than as it was before
    call = [sys.executable, "-m", "benchmarks.round", *words, "--out", str(out)]
    # A session of its own, so that the terminal's Ctrl-C does not reach it, too, while it clears away.
    with subprocess.Popen(call, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            status = process.wait(_LONGEST_SECONDS)
        except BaseException as error:
            process.terminate()  # it then ends what it started, and clears away
            status = process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
    print(f"== {cell}: {'ok' if status == 0 else 'FAILED'}, {time.monotonic() - started:.0f} s", flush=True)
    return status == 0


if __name__ == "__main__":
    end_when_told()
    sys.exit(main())
