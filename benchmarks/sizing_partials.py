"""How partials flow between tiers: how many clients one stands for, and how many tiers that takes. Pure.

An upstream takes in one partial of each worker at a time; its core, its network and its disk each limit how many.
"""

from __future__ import annotations

import math
from typing import Final

from benchmarks.sizing_inputs import Costs, Prices, Scenario
from fedtier.partial_headers import PARTIAL_HEADER_LIMIT
from worker_aggregator.batch import most_entries

BATCH_MAX: Final = 64
"""Updates, or partials, at which a worker sends a batch (`--batch-max`); fewer of large models."""
_HALVINGS: Final = 60


def busy_seconds(costs: Costs, prices: Prices, megabytes: float, contributors: float) -> float:
    """Return for how long a partial keeps an upstream busy: its core, or its network, or its disk.

    Parameters
    ----------
    costs : Costs
    prices : Prices
        Of the upstream's instance.
    megabytes : float
        Of the model.
    contributors : float
        That the partial stands for.
    """
    return max(
        costs.partial_milliseconds(megabytes, contributors) / 1000,
        costs.partial_megabytes(megabytes, contributors) / prices.taken_in_megabytes,
    )


def updates_per_second(costs: Costs, prices: Prices, scenario: Scenario, most: int) -> float:
    """Return how many updates a second one upstream process takes in, in full batches.

    Each worker has one batch under way and fills the next meanwhile, so batches grow with the load, up to the most
    contributors that one may have.
    """
    return scenario.use * most / busy_seconds(costs, prices, scenario.megabytes, most)


def contributors_per_partial(
    costs: Costs, prices: Prices, megabytes: float, updates_per_second: float, most: float
) -> float:
    """Return how many updates come while an upstream is busy with a partial: what the next one then holds.

    Parameters
    ----------
    costs : Costs
    prices : Prices
    megabytes : float
    updates_per_second : float
        That reach this upstream.
    most : float
        That one partial may hold.
    """

    def come_meanwhile(held: float) -> float:
        return updates_per_second * busy_seconds(costs, prices, megabytes, held)

    if come_meanwhile(1.0) <= 1.0:
        return 1.0
    if come_meanwhile(most) >= most:
        return most
    # A larger partial takes longer, in which more come, but less than as many more: one size is the last that grows.
    low, high = 1.0, most
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if come_meanwhile(middle) > middle else (low, middle)
    return high


def most_in_a_partial(costs: Costs, megabytes: float, tier: int) -> int:
    """Return how many contributors a partial may stand for.

    Parameters
    ----------
    costs : Costs
    megabytes : float
        Of the model.
    tier : int
        Whose partial it is: 0 of workers that clients reach, 1 of the tier above, and so on.
    """
    updates: int = most_entries(BATCH_MAX, round(megabytes * 1e6)) ** (tier + 1)
    return min(updates, int(PARTIAL_HEADER_LIMIT / costs.header_bytes))


def tiers_between(costs: Costs, prices: Prices, scenario: Scenario) -> tuple[int, ...]:
    """Return the processes of each tier between workers and master, from below; none where the master is enough.

    Raises
    ------
    ValueError
        One more tier would not be smaller than the one below it.
    """
    found: list[int] = []
    while True:
        most = updates_per_second(costs, prices, scenario, most_in_a_partial(costs, scenario.megabytes, len(found)))
        if scenario.updates_per_second <= most:
            return tuple(found)
        needed = math.ceil(scenario.updates_per_second / most)
        if found and needed >= found[-1]:
            raise ValueError(f"no tree of workers takes {scenario.updates_per_second:.0f} updates a second")
        found.append(needed)
