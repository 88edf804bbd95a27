"""Which examples go to which client. Pure: labels in, index arrays out.

A scheme gives every example to exactly one client, and the same seed gives the same
parts on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.problems import StartupError

Labels: TypeAlias = npt.NDArray[Any]
Indices: TypeAlias = npt.NDArray[np.int64]
Scheme: TypeAlias = Callable[[Labels, int, int], list[Indices]]
"""Labels [n], number of clients, seed -> one array of indices into the labels per client."""


def iid(labels: Labels, clients: int, seed: int) -> list[Indices]:
    """Deal all examples out at random, in parts whose sizes differ by at most 1.

    Parameters
    ----------
    labels : ndarray, shape [n]
        Only how many there are matters here.
    clients : int
    seed : int
        At least 0.

    Returns
    -------
    list of ndarray of int64
        One per client, ascending.

    Raises
    ------
    StartupError
        There are no clients, or more than examples.
    """
    _require_enough(labels, clients)
    return [np.sort(part) for part in np.array_split(_shuffled(len(labels), seed), clients)]


SCHEMES: Final[Mapping[str, Scheme]] = MappingProxyType({"iid": iid})
"""The schemes by name."""


def _require_enough(labels: Labels, clients: int) -> None:
    if not 1 <= clients <= len(labels):
        raise StartupError(
            f"{len(labels)} examples cannot be dealt out to {clients} clients; choose from 1 to {len(labels)}"
        )


def _shuffled(count: int, seed: int) -> Indices:
    """Return 0 ... count-1 in random order.

    NumPy keeps the raw stream of a bit generator from version to version, but not what
    its `Generator` makes of it (NEP 19), so the order comes from the raw stream.
    """
    keys = np.random.PCG64(seed).random_raw(count)
    return np.argsort(keys, kind="stable").astype(np.int64)
