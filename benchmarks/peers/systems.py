"""Which systems are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.peers import flower_legacy, flower_superlink, nvflare_fedavg, ours
from benchmarks.peers.peer import Start, run_peer
from benchmarks.peers.rounds import Measured
from benchmarks.peers.task import Task
from benchmarks.peers.venvs import Package, installed

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
        _peer("flower", "legacy-tuned", _FLOWER, flower_legacy.start_tuned),
        _peer("flower", "superlink", _FLOWER, flower_superlink.start),
        _peer("flower", "superlink-tuned", _FLOWER, flower_superlink.start_tuned),
        _peer("nvflare", "fedavg", _NVFLARE, nvflare_fedavg.start),
        _peer("nvflare", "tuned", _NVFLARE, nvflare_fedavg.start_tuned),
    )


def _peer(system: str, variant: str, package: Package, start: Start) -> System:
    def measure(task: Task) -> Measured:
        return run_peer(task, installed(task.cache, package), start, f"{system}-{variant}")

    return System(system, variant, package.version, measure)
