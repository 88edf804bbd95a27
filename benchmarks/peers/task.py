"""What is asked of every system."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.updates import Outline


@dataclass(frozen=True, slots=True)
class Task:
    """What every system has to do.

    Parameters
    ----------
    clients : int
    megabytes : float
        Size of the model, 10**6 bytes each.
    rounds : int
        Measured ones.
    arrays : Path
        Folder of the arrays (`benchmarks.peers.work.make_arrays`).
    cache : Path
        Folder of the virtual environments.
    patience : float
        Seconds that one round may take.
    logs : Path or None
        Folder for what the programs of a failed run said.
    memory : bool
        Whether the servers' memory is looked at as often as can be; the seconds of such a run do not count.
    """

    clients: int
    megabytes: float
    rounds: int
    arrays: Path
    cache: Path
    patience: float
    logs: Path | None
    memory: bool = False

    @property
    def outline(self) -> Outline:
        """Names and shapes of the model's tensors."""
        return Outline.of_megabytes(self.megabytes)
