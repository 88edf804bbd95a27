"""Our own system, as `benchmarks.round` measures it: one worker; servers are master, worker and S3."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib.metadata import version as installed_version
from pathlib import Path

from benchmarks.measured import SERVERS
from benchmarks.peers.programs import Programs, RunFailedError
from benchmarks.peers.rounds import Measured, Memory
from benchmarks.peers.task import Task

_PROGRAM = "round"


def version() -> str:
    """Return the version that is installed."""
    return installed_version("fedtier")


def measure(task: Task) -> Measured:
    """Do one run.

    Raises
    ------
    RunFailedError
        It ended badly, as it does where a model is not the reference's.
    """
    with (
        tempfile.TemporaryDirectory(prefix="fedtier-peers-") as folder,
        Programs(Path(folder), os.environ) as programs,
    ):
        out = Path(folder) / "measured.json"
        words = [sys.executable, "-m", "benchmarks.round", "--workers", "1", "--folder", folder, "--out", str(out)]
        words += ["--clients", str(task.clients), "--megabytes", str(task.megabytes), "--rounds", str(task.rounds)]
        words += ["--head", "never", "--memory-looks", "often" if task.memory else "never"]
        programs.start(_PROGRAM, words, PYTHONPATH=str(Path(__file__).parents[2]))
        try:
            programs.await_end(_PROGRAM, task.patience * (task.rounds + 2))
        except RunFailedError:
            if task.logs is not None:
                programs.copy_output(task.logs / "fedtier")
            raise
        (run,) = json.loads(out.read_text())["runs"]
    seconds = tuple(each["held_seconds"] for each in run["rounds"])
    if not task.memory:
        return Measured(seconds)
    high_water = round(sum(run["high_water_megabytes"][tier] for tier in SERVERS), 1)
    return Measured(seconds, Memory(run["peak_pss_megabytes"]["servers"], high_water, run["server_memory_samples"]))
