"""What one run has to do: how many clients, with which updates, and where clients meet.

The updates are those of `benchmarks.updates`, so every system moves the same bytes. The peers' programs
read this too, so it needs NumPy and the standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.updates import (
    SEED,
    ClientUpdates,
    Floats,
    Outline,
    bias_of,
    client_blocks,
    filled,
    num_examples,
    opening_bias,
)

_VARIABLE = "FEDTIER_BENCHMARK_WORK"
_WORK_FILE = "work.json"
_MEAN = "mean.npy"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Work:
    """One run of one system.

    Parameters
    ----------
    folder : str
        Of the run; clients write there what they found.
    arrays : str
        Folder of all clients' values and of their mean, see `make_arrays`.
    rows : int
        Of the model's `Outline`.
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
    rows: int
    clients: int
    rounds: int
    entered: str
    ready: str

    @property
    def turns(self) -> int:
        """How often a client enters its training: for the warm-up, for each round, and once to see the last average."""
        return self.rounds + 2

    @property
    def outline(self) -> Outline:
        """Names and shapes of the model's tensors."""
        return Outline(self.rows)

    def opening(self) -> list[Floats]:
        """Return the tensors of the model that the first turn starts with."""
        values = np.load(_values_file(Path(self.arrays), 0))[self.outline.window(0)]
        return list(self.outline.arrays(values, opening_bias()).values())

    def update(self, client: int, turn: int) -> list[Floats]:
        """Return the tensors that a client sends in a turn, counted from 1."""
        values = np.load(_values_file(Path(self.arrays), client))
        return list(ClientUpdates(self.outline, client, values).of_round(turn).values())

    def largest_difference(self, model: Sequence[npt.NDArray[Any]], turn: int) -> float:
        """Return by how much at most a model differs from the one that clients have to hold in a turn.

        That is the opening one in the first turn, and then the float64 mean, by number of examples, of the updates
        of the turn before. Where shapes differ, it is infinity.

        Parameters
        ----------
        model : sequence of ndarray
            In the order of `Outline.shapes`, each of its shape or flat.
        turn : int
        """
        if turn == 1:
            return _largest_difference(model, self.opening())
        mean = np.load(Path(self.arrays) / _MEAN, mmap_mode="r")
        return _largest_difference(model, [mean[self.outline.window(turn - 1)], self._mean_bias(turn - 1)])

    def _mean_bias(self, turn: int) -> npt.NDArray[Any]:
        clients = range(self.clients)
        weights = [num_examples(client) for client in clients]
        return np.average([bias_of(client, turn) for client in clients], axis=0, weights=weights)

    def difference_file(self, client: int, turn: int) -> Path:
        """Return where a client writes what `largest_difference` gave in a turn."""
        return Path(self.folder) / f"difference-{client}-{turn}.txt"

    def save(self) -> dict[str, str]:
        """Write this for the programs of the run; return the environment variable that leads them here."""
        path = Path(self.folder) / _WORK_FILE
        path.write_text(json.dumps(asdict(self)))
        return {_VARIABLE: str(path)}


def saved_work() -> Work:
    """Return the work that this process takes part in, as its environment says."""
    return Work(**json.loads(Path(os.environ[_VARIABLE]).read_text()))


def make_arrays(folder: Path, outline: Outline, clients: int) -> None:
    """Write the values of all clients as float32, and their mean by number of examples as float64, all as `.npy`."""
    total = np.zeros(outline.values, np.float64)
    for client in range(clients):
        values = filled(outline, client_blocks(outline, SEED, client))
        np.save(_values_file(folder, client), values)
        for start in range(0, values.size, _CHUNK):
            total[start : start + _CHUNK] += values[start : start + _CHUNK] * np.float64(num_examples(client))
    total /= sum(map(num_examples, range(clients)))
    np.save(folder / _MEAN, total)


def _values_file(folder: Path, client: int) -> Path:
    return folder / f"values-{client}.npy"


def _largest_difference(model: Sequence[npt.NDArray[Any]], expected: Sequence[npt.NDArray[Any]]) -> float:
    """Compare two models that may be cut differently, in pieces that need little memory."""
    size = sum(tensor.size for tensor in model)
    if size != sum(tensor.size for tensor in expected):
        return float("inf")
    cuts = sorted({*range(0, size, _CHUNK), *_ends(model), *_ends(expected)})
    found = [
        np.max(np.abs(np.subtract(_part(model, *piece), _part(expected, *piece), dtype=np.float64)))
        for piece in pairwise(cuts)
    ]
    return float(np.max(found))  # not the built-in one, which may pass over a value that is no number


def _ends(tensors: Sequence[npt.NDArray[Any]]) -> Iterator[int]:
    return accumulate(tensor.size for tensor in tensors)


def _part(tensors: Sequence[npt.NDArray[Any]], start: int, stop: int) -> npt.NDArray[Any]:
    """Return a piece that lies in one of the tensors."""
    for tensor in tensors:
        if start < tensor.size:
            return tensor.reshape(-1)[start:stop]
        start, stop = start - tensor.size, stop - tensor.size
    raise IndexError(start)
