"""Which examples go to which client: a scheme by name, with its numbers. Pure.

The same labels, seed and partition give the same parts on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from client.datasets.schemes import Indices, Labels, dirichlet, iid, quantity, require_clients, shards, uniform
from fedtier.problems import StartupError

SCHEMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "iid": "everything at random, in equal parts",
        "uniform": "n_data examples of each of the first n_label labels for each client",
        "shards": "two shards of the data, sorted by label, for each client (McMahan et al. 2017)",
        "dirichlet": "label proportions drawn around the data's, closer with a larger alpha (Hsu et al. 2019)",
        "quantity": "everything at random, in parts of unequal sizes, more equal with a larger alpha (Li et al. 2022)",
    }
)
"""The schemes by name, and what each does."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A scheme and its numbers.

    Parameters
    ----------
    scheme : str
        A key of `SCHEMES`.
    alpha : float
        Concentration of ``dirichlet`` and ``quantity``, above 0.
    n_label : int, optional
        Labels that each client has under ``uniform``, the first ones; all by default.
    n_data : int, optional
        Examples per client and label under ``uniform``; by default as many as everybody can have.

    Raises
    ------
    StartupError
        There is no such scheme, or a number that it cannot have.

    Examples
    --------
    >>> import numpy as np
    >>> [part.tolist() for part in split(np.array([0, 1, 0, 1]), 2, 0, Partition("uniform", n_label=1))]
    [[2], [0]]
    """

    scheme: str = "iid"
    alpha: float = 0.5
    n_label: int | None = None
    n_data: int | None = None

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise StartupError(f"there is no partition {self.scheme!r}; choose one of {', '.join(SCHEMES)}")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise StartupError(f"--alpha is {self.alpha}, wanted a finite number above 0, such as 0.5")
        for flag, value in (("--n-label", self.n_label), ("--n-data", self.n_data)):
            if value is None:
                continue
            if self.scheme != "uniform":
                raise StartupError(f"{flag} belongs to the partition uniform, not to {self.scheme}; leave one of them")
            if value < 1:
                raise StartupError(f"{flag} is {value}, wanted at least 1")


def split(labels: Labels, clients: int, seed: int, partition: Partition) -> list[Indices]:
    """Say which examples each client gets.

    Parameters
    ----------
    labels : ndarray of an integer dtype, shape [n]
    clients : int
        From 1 to n.
    seed : int
        At least 0.
    partition : Partition

    Returns
    -------
    list of ndarray of int64
        Per client the indices of its examples, ascending, at least one; no example goes to two clients, and every one
        goes to one except under ``uniform``.

    Raises
    ------
    StartupError
        There are too few examples for so many clients; says of what.
    """
    require_clients(labels, clients)
    match partition.scheme:
        case "uniform":
            return uniform(labels, clients, seed, n_label=partition.n_label, n_data=partition.n_data)
        case "shards":
            return shards(labels, clients, seed)
        case "dirichlet":
            return dirichlet(labels, clients, seed, alpha=partition.alpha)
        case "quantity":
            return quantity(labels, clients, seed, alpha=partition.alpha)
        case _:
            return iid(labels, clients, seed)
