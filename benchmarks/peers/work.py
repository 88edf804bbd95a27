"""What one run has to do: how many clients, which arrays, and where clients meet. Read by the peers' programs too.

Needs NumPy and the standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_VARIABLE = "FEDTIER_BENCHMARK_WORK"
_WORK_FILE = "work.json"
_INITIAL = "initial.npy"
_UPDATE = "update-{}.npy"
_MEAN = "mean.npy"
_SEED = 0
_COLUMNS = 1000
_LEAST_EXAMPLES = 600
_CHUNK_ROWS = 1024

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Work:
    """One run of one system.

    Parameters
    ----------
    folder : str
        Of the run; clients write there what they found.
    arrays : str
        Folder of the arrays, see `make_arrays`.
    clients : int
        Each is a process of its own, and sends one update per round.
    rounds : int
        That are measured. One more goes before, to warm up.
    entered, ready : str
        Addresses of the barriers (`benchmarks.barrier`) where clients meet when they enter their training with
        the round's model, and again with their next update ready.
    """

    folder: str
    arrays: str
    clients: int
    rounds: int
    entered: str
    ready: str

    @property
    def turns(self) -> int:
        """How often a client enters its training: for the warm-up, for each round, and once to see the last average."""
        return self.rounds + 2

    @property
    def initial(self) -> Path:
        """The model that the first round starts with, float32, as `.npy`."""
        return Path(self.arrays) / _INITIAL

    @property
    def mean(self) -> Path:
        """What every round has to come to: the float64 mean of all updates by number of examples, as `.npy`."""
        return Path(self.arrays) / _MEAN

    def update(self, client: int) -> Path:
        """Return where a client's update lies, float32, as `.npy`."""
        return Path(self.arrays) / _UPDATE.format(client)

    def difference(self, client: int, turn: int) -> Path:
        """Return where a client writes by how much at most the model it holds differs from the one it should hold."""
        return Path(self.folder) / f"difference-{client}-{turn}.txt"

    def save(self) -> dict[str, str]:
        """Write this for the programs of the run; return the environment variable that leads them here."""
        path = Path(self.folder) / _WORK_FILE
        path.write_text(json.dumps(asdict(self)))
        return {_VARIABLE: str(path)}


def saved_work() -> Work:
    """Return the work that this process takes part in, as its environment says."""
    return Work(**json.loads(Path(os.environ[_VARIABLE]).read_text()))


def num_examples(client: int) -> int:
    """Return a client's number of examples; they differ, so that an average without weights shows."""
    return _LEAST_EXAMPLES + client


def make_arrays(folder: Path, clients: int, megabytes: float) -> None:
    """Write the initial model, every client's update and their mean; always the same ones for the same numbers.

    Parameters
    ----------
    folder : Path
    clients : int
    megabytes : float
        Size of the one float32 array of the model, 10**6 bytes each; its shape is ``[rows, 1000]``.
    """
    rows = max(1, round(megabytes * 1e6 / 4 / _COLUMNS))
    base = np.random.default_rng(_SEED).standard_normal((rows, _COLUMNS), dtype=np.float32)
    np.save(folder / _INITIAL, base)
    total = np.zeros(base.shape, np.float64)
    for client in range(clients):
        update = base + np.float32((client + 1) / 1000)
        np.save(folder / _UPDATE.format(client), update)
        for part in chunks(rows):
            total[part] += update[part] * np.float64(num_examples(client))
    np.save(folder / _MEAN, total / sum(map(num_examples, range(clients))))


def largest_difference(model: Float32, path: Path) -> float:
    """Return by how much a model differs at most from the one in a `.npy` file; infinity where the shapes differ."""
    expected = np.load(path, mmap_mode="r")
    if model.shape != expected.shape:
        return float("inf")
    return max(float(np.max(np.abs(model[part] - expected[part].astype(np.float64)))) for part in chunks(len(expected)))


def chunks(rows: int) -> Iterator[slice]:
    """Return slices that cover all rows, each small enough to be worked on beside whatever else needs memory."""
    return (slice(first, first + _CHUNK_ROWS) for first in range(0, rows, _CHUNK_ROWS))
