"""What travels within a deployment, and is written: updates, models and partials of every tier. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.sizing_inputs import Costs, Prices, Scenario
from benchmarks.sizing_partials import contributors_per_partial, most_in_a_partial


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """MB per second on average over a round, of all processes of a kind together.

    Parameters
    ----------
    into_workers, out_of_workers : float
        Of all workers, those between tiers included.
    written : float
        By the same workers: all that they receive, and partials before they are sent.
    into_master, out_of_master : float
        Partials, all of which it journals; models for the workers right below it.
    between_tiers : float
        Partials and models, from one server to another.
    held : tuple of float
        Contributors of a partial, as each tier sends it, from below.
    spread_seconds : float
        Until all workers have a new model, where networks are all that it waits for.
    """

    into_workers: float
    out_of_workers: float
    written: float
    into_master: float
    out_of_master: float
    between_tiers: float
    held: tuple[float, ...]
    spread_seconds: float


def traffic(costs: Costs, prices: Prices, scenario: Scenario, tiers: Sequence[int]) -> Traffic:
    """Return what travels.

    Parameters
    ----------
    costs : Costs
    prices : Prices
    scenario : Scenario
    tiers : sequence of int
        Processes of each tier, from the workers that clients reach to the one master.
    """
    rate, megabytes = scenario.updates_per_second, scenario.megabytes
    held = _held(costs, prices, scenario, tiers[1:])
    partials = [rate / count * costs.partial_megabytes(megabytes, count) for count in held]
    fetched = [processes * megabytes / scenario.round_seconds for processes in tiers[:-1]]
    clients = rate * megabytes
    into_workers = clients + sum(partials[:-1]) + sum(fetched)
    return Traffic(
        into_workers=into_workers,
        out_of_workers=clients + sum(partials) + sum(fetched[:-1]),
        written=into_workers + sum(partials),
        into_master=partials[-1],
        out_of_master=fetched[-1],
        between_tiers=sum(partials) + sum(fetched),
        held=held,
        spread_seconds=sum(math.ceil(below / above) for below, above in pairwise(tiers))
        * megabytes
        / prices.link_megabytes,
    )


def _held(costs: Costs, prices: Prices, scenario: Scenario, upstreams: Sequence[int]) -> tuple[float, ...]:
    """Return the contributors of a partial at each tier that receives some; a tier never takes partials apart."""
    held = [1.0]
    for tier, processes in enumerate(upstreams):
        rate, most = scenario.updates_per_second / processes, most_in_a_partial(costs, scenario.megabytes, tier)
        held.append(max(held[-1], contributors_per_partial(costs, prices, scenario.megabytes, rate, most)))
    return tuple(held[1:])
