"""The model that benchmarks play with, and every client's update of every round: the same bytes on each call.

NumPy only, and one file, so that a program in another virtual environment can load it by its path.

A client's values are base values that all clients share, plus noise of its own. They form one long vector; the
update of round r is the window of it that starts at ``16 * r``. So all values change from round to round, and none
has to be computed while a round runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]

SEED = 20
"""Of the values, wherever figures are compared."""
BIAS = "head.bias"
LONGEST_RUN = 1024
_COLUMNS = 500
_LAYER_ROWS = 8000
_BIAS_ELEMENTS = 10
_STEP = 16  # elements: 64 bytes, so that windows are aligned
_BLOCK = 1 << 20
_SPREAD, _NOISE = np.float32(0.05), np.float32(0.005)


@dataclass(frozen=True)
class Outline:
    """Names and shapes of a float32 model: layers of 16 MB at most, and one small bias.

    Parameters
    ----------
    rows : int
        Of 500 elements, 2 kB, all layers together.
    """

    rows: int

    @classmethod
    def of_megabytes(cls, megabytes: float) -> Outline:
        """Return that of a model of so many million bytes, without its bias."""
        return cls(max(1, round(megabytes * 1e6 / 4 / _COLUMNS)))

    @property
    def elements(self) -> int:
        """Elements of all layers."""
        return self.rows * _COLUMNS

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return 4 * (self.elements + _BIAS_ELEMENTS)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the tensors' shapes, in the order of the file."""
        layers = {
            f"layer-{number:03d}.weight": (min(_LAYER_ROWS, self.rows - first), _COLUMNS)
            for number, first in enumerate(range(0, self.rows, _LAYER_ROWS))
        }
        return {**layers, BIAS: (_BIAS_ELEMENTS,)}

    def window(self, round_number: int) -> slice:
        """Return where a round's values lie in a client's."""
        if round_number > LONGEST_RUN:
            raise ValueError(f"round {round_number} is beyond {LONGEST_RUN}, to which clients' values reach")
        return slice(_STEP * round_number, _STEP * round_number + self.elements)

    @property
    def values(self) -> int:
        """How many values a client has."""
        return _STEP * LONGEST_RUN + self.elements

    def arrays(self, values: Floats, bias: Floats) -> dict[str, Floats]:
        """Return views of a window's values as tensors, and the bias."""
        found, start = {}, 0
        for name, shape in self.shapes().items():
            if name == BIAS:
                found[name] = bias
                continue
            size = shape[0] * shape[1]
            found[name] = values[start : start + size].reshape(shape)
            start += size
        return found


def base_blocks(outline: Outline, seed: int) -> Iterator[Floats]:
    """Yield what all clients' values have in common, in blocks of 4 MB."""
    for block, size in _blocks(outline.values):
        yield _normal(seed, 0, block)[:size] * _SPREAD


def client_blocks(outline: Outline, seed: int, client: int) -> Iterator[Floats]:
    """Yield a client's values, in blocks of 4 MB."""
    for number, base in enumerate(base_blocks(outline, seed)):
        yield base + _normal(seed, 1 + client, number)[: base.size] * _NOISE


def filled(outline: Outline, blocks: Iterator[Floats]) -> Floats:
    """Return values in one array."""
    values, start = np.empty(outline.values, np.float32), 0
    for block in blocks:
        values[start : start + block.size] = block
        start += block.size
    return values


def bias_of(client: int, round_number: int) -> Floats:
    """Return a client's bias in a round."""
    return np.arange(_BIAS_ELEMENTS, dtype=np.float32) + np.float32((client + 1) / 8 + round_number)


def opening_bias() -> Floats:
    """Return the bias of the model that a federation begins with."""
    return np.zeros(_BIAS_ELEMENTS, np.float32)


def num_examples(client: int) -> int:
    """Return a client's weight in the mean."""
    return 600 + client % 100


@dataclass(frozen=True)
class ClientUpdates:
    """One client's updates, ready to be sent.

    Parameters
    ----------
    outline : Outline
    client : int
    values : ndarray of float32, shape [outline.values]
    """

    outline: Outline
    client: int
    values: Floats

    @classmethod
    def made(cls, outline: Outline, seed: int, client: int) -> ClientUpdates:
        """Compute them, which takes a second per 50 MB."""
        return cls(outline, client, filled(outline, client_blocks(outline, seed, client)))

    @property
    def num_examples(self) -> int:
        """The client's weight in the mean."""
        return num_examples(self.client)

    def of_round(self, round_number: int) -> dict[str, Floats]:
        """Return views of a round's update; nothing is computed."""
        return self.outline.arrays(self.values[self.outline.window(round_number)], bias_of(self.client, round_number))


def _blocks(values: int) -> Iterator[tuple[int, int]]:
    for number, start in enumerate(range(0, values, _BLOCK)):
        yield number, min(_BLOCK, values - start)


def _normal(seed: int, who: int, block: int) -> Any:
    return np.random.default_rng([seed, who, block]).standard_normal(_BLOCK, np.float32)
