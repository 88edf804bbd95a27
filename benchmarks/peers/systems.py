"""Which systems are compared, and one run of each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.barrier import Barrier
from benchmarks.peers import flower_legacy, flower_superlink, nvflare_fedavg, ours
from benchmarks.peers.programs import Programs, RunFailedError
from benchmarks.peers.rounds import Measured, play
from benchmarks.peers.task import Task
from benchmarks.peers.venvs import Package, Venv, installed
from benchmarks.peers.work import Work
from benchmarks.processes import Watched

_FLOWER = Package("flwr", "1.42.0")
_NVFLARE = Package("nvflare", "2.9.0")


@dataclass(frozen=True, slots=True)
class System:
    """One row of the comparison.

    Parameters
    ----------
    system, variant, version : str
    measure : callable
        Does one run; raises `RunFailedError`.
    """

    system: str
    variant: str
    version: str
    measure: Callable[[Task], Measured]

    @property
    def label(self) -> str:
        """Its name on the command line."""
        return "-".join(filter(None, (self.system, self.variant)))


def systems() -> Sequence[System]:
    """Return all systems, ours first."""
    return (
        System("fedtier", "", ours.version(), ours.measure),
        _peer("flower", "legacy", _FLOWER, flower_legacy.start),
        _peer("flower", "superlink", _FLOWER, flower_superlink.start),
        _peer("flower", "superlink-tuned", _FLOWER, flower_superlink.start_tuned),
        _peer("nvflare", "fedavg", _NVFLARE, nvflare_fedavg.start),
    )


def _peer(
    system: str, variant: str, package: Package, start: Callable[[Work, Venv, Programs], Sequence[int]]
) -> System:
    def measure(task: Task) -> Measured:
        venv = installed(task.cache, package)
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
                    with Watched({"server": start(work, venv, programs)}) as watched:
                        seconds = play(work, entered, ready, programs.check, task.patience)
                except RunFailedError:
                    if task.logs:
                        programs.copy_output(task.logs / f"{system}-{variant}")
                    raise
                return Measured(seconds, watched.peak("server") / 1e6)

    return System(system, variant, package.version, measure)
