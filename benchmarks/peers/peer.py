"""One run of a peer: its programs started, the rounds played, the servers' memory watched, and everything ended."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeAlias

from benchmarks.barrier import Barrier
from benchmarks.peers.programs import Programs, RunFailedError
from benchmarks.peers.rounds import Measured, Memory, play
from benchmarks.peers.task import Task
from benchmarks.peers.venvs import Venv
from benchmarks.peers.work import Work
from benchmarks.processes import OFTEN, Watched, high_water_bytes

Start: TypeAlias = Callable[[Work, Venv, Programs], Sequence[int]]
"""Starts all programs of a run, and returns the processes on the server's side; what these start counts with them."""


def run_peer(task: Task, venv: Venv, start: Start, label: str) -> Measured:
    """Do one run.

    Parameters
    ----------
    label : str
        Names the folder below `Task.logs` for what its programs said, should it fail.

    Raises
    ------
    RunFailedError
        A program ended, a client did not come or held a wrong average.
    """
    with (
        tempfile.TemporaryDirectory(prefix="fedtier-peers-") as folder,
        Barrier(task.clients) as entered,
        Barrier(task.clients) as ready,
    ):
        work = Work(
            folder=folder,
            arrays=str(task.arrays),
            rows=task.outline.rows,
            clients=task.clients,
            rounds=task.rounds,
            entered=entered.address,
            ready=ready.address,
        )
        environment = {**venv.environment(Path(folder)), **work.save()}
        with Programs(Path(folder), environment) as programs:
            try:
                servers = start(work, venv, programs)
                watched = Watched({"server": servers}, OFTEN)
                looks = watched if task.memory else nullcontext()
                seconds = play(work, entered, ready, looks, programs.check, task.patience)
            except RunFailedError:
                if task.logs is not None:
                    programs.copy_output(task.logs / label)
                raise
            if not task.memory:
                return Measured(seconds)
            pss, high_water = watched.peak("server"), high_water_bytes(servers)
            return Measured(seconds, Memory(round(pss / 1e6, 1), round(high_water / 1e6, 1), watched.samples))
