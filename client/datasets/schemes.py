"""Ways to deal examples out to clients. Pure: labels in, one array of indices per client out.

All is drawn from the raw stream of a bit generator and from NumPy's legacy `RandomState`. NumPy keeps
both from version to version, but not what its `Generator` makes of the stream (NEP 19), so the same
seed gives the same parts on every machine. Callers see to it that no client has to go without examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.problems import StartupError

Labels: TypeAlias = npt.NDArray[Any]
Indices: TypeAlias = npt.NDArray[np.int64]

_SHARDS_PER_CLIENT: Final = 2
_ALPHAS: Final = (1e-200, 1e200)
"""Beyond these a Dirichlet distribution is its limit, and products would leave the range of float64."""


def iid(labels: Labels, clients: int, seed: int) -> list[Indices]:
    """Deal all examples out at random, in parts whose sizes differ by at most 1.

    Parameters
    ----------
    labels : ndarray, shape [n]
        Only how many there are matters here.
    clients : int
        From 1 to n.
    seed : int
        At least 0.

    Returns
    -------
    list of ndarray of int64
        One per client, ascending.
    """
    return [np.sort(part) for part in np.array_split(shuffled(len(labels), seed), clients)]


def uniform(
    labels: Labels, clients: int, seed: int, *, n_label: int | None = None, n_data: int | None = None
) -> list[Indices]:
    """Give every client as many examples of each of the first labels, no example twice.

    Parameters
    ----------
    labels : ndarray, shape [n]
    clients : int
    seed : int
        At least 0.
    n_label : int, optional
        How many labels, in ascending order of their values; all by default.
    n_data : int, optional
        Examples per client and label; by default as many as everybody can get of the scarcest label.

    Returns
    -------
    list of ndarray of int64
        One per client, ascending, of `n_label` * `n_data` indices.

    Raises
    ------
    StartupError
        There are fewer labels, or too few examples of one.
    """
    queues = _by_label(labels, seed)
    if n_label is not None and n_label > len(queues):
        raise StartupError(f"--n-label is {n_label}, but the data have {len(queues)} labels; choose at most those")
    chosen = dict(list(queues.items())[:n_label])
    scarcest = min(chosen, key=lambda label: len(chosen[label]))
    each = n_data or max(1, len(chosen[scarcest]) // clients)
    if (held := len(chosen[scarcest])) < clients * each:
        raise StartupError(
            f"label {scarcest} has {held} examples, and {clients} clients with {each} of each label want "
            f"{clients * each}; choose fewer clients{', a smaller --n-data' if each > 1 else ''} or another --partition"
        )
    return [
        np.sort(np.concatenate([queue[client * each : (client + 1) * each] for queue in chosen.values()]))
        for client in range(clients)
    ]


def shards(labels: Labels, clients: int, seed: int) -> list[Indices]:
    """Sort the examples by label, cut them into two shards per client, and deal each client two at random.

    The pathological non-iid partition of McMahan et al., "Communication-Efficient Learning of Deep Networks
    from Decentralized Data", 2017 (arXiv:1602.05629), section 3: most clients have examples of two labels.

    Parameters
    ----------
    labels : ndarray, shape [n]
    clients : int
    seed : int
        At least 0.

    Returns
    -------
    list of ndarray of int64
        One per client, ascending; sizes of shards differ by at most 1.

    Raises
    ------
    StartupError
        There are more shards than examples.
    """
    count = _SHARDS_PER_CLIENT * clients
    if count > len(labels):
        raise StartupError(
            f"{len(labels)} examples cannot be cut into {count} shards, {_SHARDS_PER_CLIENT} for each of {clients} "
            f"clients; choose at most {len(labels) // _SHARDS_PER_CLIENT} clients, or another --partition"
        )
    cut = np.array_split(np.argsort(labels, kind="stable").astype(np.int64), count)
    hands = shuffled(count, seed).reshape(clients, _SHARDS_PER_CLIENT)
    return [np.sort(np.concatenate([cut[shard] for shard in hand])) for hand in hands]


def dirichlet(labels: Labels, clients: int, seed: int, *, alpha: float) -> list[Indices]:
    """Draw each client's label proportions from a Dirichlet distribution around those of the data.

    After Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification", 2019 (arXiv:1909.06335), section 3: proportions q ~ Dir(alpha * p), p being the labels'
    frequencies; examples are drawn by them without replacement, and a label that has run out no longer counts.

    Parameters
    ----------
    labels : ndarray, shape [n]
    clients : int
        From 1 to n.
    seed : int
        At least 0.
    alpha : float
        Above 0. Small: most clients have one label; large: all have them as the data do.

    Returns
    -------
    list of ndarray of int64
        One per client, ascending; sizes differ by at most 1.
    """
    queues = list(_by_label(labels, seed).values())
    held = np.array([len(queue) for queue in queues])
    draw = _proportions_stream(seed)
    concentration = np.clip(alpha, *_ALPHAS) * (held / len(labels))
    taken = np.zeros_like(held)
    parts = []
    for client in range(clients):
        size = len(labels) // clients + (client < len(labels) % clients)
        counts = _drawn_counts(draw, _log_dirichlet(draw, concentration), size, held - taken)
        taken_now = zip(queues, taken, counts, strict=True)
        parts.append(np.sort(np.concatenate([queue[start : start + more] for queue, start, more in taken_now])))
        taken = taken + counts
    return parts


def quantity(labels: Labels, clients: int, seed: int, *, alpha: float) -> list[Indices]:
    """Deal the examples out at random, in parts whose sizes come from a Dirichlet distribution.

    The quantity skew of Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", 2022
    (NIID-Bench, arXiv:2102.02079), section 4: sizes are in proportion to q ~ Dir(alpha). Each client has one example
    before the others are dealt out so.

    Parameters
    ----------
    labels : ndarray, shape [n]
        Only how many there are matters here.
    clients : int
        From 1 to n.
    seed : int
        At least 0.
    alpha : float
        Above 0. Small: a few clients have nearly everything; large: sizes are nearly equal.

    Returns
    -------
    list of ndarray of int64
        One per client, ascending, none empty.
    """
    draw = _proportions_stream(seed)
    weights = _log_dirichlet(draw, np.full(clients, np.clip(alpha, *_ALPHAS)))
    cumulative = np.cumsum(np.exp(weights - weights.max()))
    free = len(labels) - clients
    ends = np.arange(1, clients + 1) + np.rint(cumulative / cumulative[-1] * free).astype(np.int64)
    return [np.sort(part) for part in np.split(shuffled(len(labels), seed), ends[:-1])]


def shuffled(count: int, seed: int) -> Indices:
    """Return 0 ... count-1 in random order, the same on every machine.

    Parameters
    ----------
    count : int
    seed : int
        At least 0.
    """
    keys = np.random.PCG64(seed).random_raw(count)
    return np.argsort(keys, kind="stable").astype(np.int64)


def require_clients(labels: Labels, clients: int) -> None:
    """Refuse a number of clients that cannot be.

    Raises
    ------
    StartupError
        There are no clients, or more than examples.
    """
    if not 1 <= clients <= len(labels):
        raise StartupError(
            f"{len(labels)} examples cannot be dealt out to {clients} clients; choose from 1 to {len(labels)}"
        )


def _by_label(labels: Labels, seed: int) -> Mapping[Any, Indices]:
    """Return each label's examples in random order; labels ascend."""
    order = shuffled(len(labels), seed)
    return {value.item(): order[labels[order] == value] for value in np.unique(labels)}


def _proportions_stream(seed: int) -> np.random.RandomState:
    # A stream of its own: that of the seed alone decides the order of the examples.
    return np.random.RandomState(np.random.PCG64([seed, 1]))


def _log_dirichlet(draw: np.random.RandomState, concentration: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return logarithms of weights whose proportions are Dirichlet-distributed.

    `RandomState.dirichlet` gives NaN where all its gamma variables are 0 in float64. Their logarithms are not:
    Gamma(a) is Gamma(a + 1) * U ** (1 / a) (Marsaglia and Tsang, "A Simple Method for Generating Gamma Variables",
    2000, section 6).
    """
    gamma = draw.standard_gamma(concentration + 1)
    above_zero = 1 - draw.random_sample(len(concentration))
    logarithms: npt.NDArray[np.float64] = np.log(gamma) + np.log(above_zero) / concentration
    return logarithms


def _drawn_counts(
    draw: np.random.RandomState, weights: npt.NDArray[np.float64], size: int, left: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return how many examples of each label are drawn by log weights when so many are left of each."""
    counts = np.zeros_like(left)
    while (missing := size - int(counts.sum())) > 0:
        # Every pass but the last uses a label up, so there are no more passes than labels.
        open_labels = np.flatnonzero(counts < left)
        cumulative = np.cumsum(np.exp(weights[open_labels] - weights[open_labels].max()))
        places = np.searchsorted(cumulative / cumulative[-1], draw.random_sample(missing), side="right")
        counts = np.minimum(counts + np.bincount(open_labels[places], minlength=len(left)), left)
    return counts
