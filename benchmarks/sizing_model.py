"""From what an update, a poll and a partial cost to the servers of a deployment: arithmetic, nothing measured. Pure.

In: costs, as `benchmarks.scale` measures them; prices; a scenario. Out: a deployment. A month has 30 days of rounds
without a pause.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from benchmarks.sizing_inputs import Costs, Prices, Scenario
from benchmarks.sizing_partials import tiers_between
from benchmarks.sizing_traffic import Traffic, traffic
from fedtier.bucket import COPIED_PART_BYTES, DEFAULT_PART_BYTES
from fedtier.serving.front.limits import Limits
from fedtier.serving.pacing import POLLS_PER_SECOND, SLOWEST
from fedtier.store import LARGEST_SENT_AGAIN

THREADS: Final = 256
"""Of one worker (``--threads``), eight of which are for anything but transfers."""
SLOTS: Final = THREADS - 8
"""Transfers at once of one worker; updates that wait hold one, too."""
_WAITING: Final = 1.5
"""Partials that an update waits for: the rest of the one that is under way, and its own."""
PART_MEGABYTES: Final = DEFAULT_PART_BYTES / 1e6
"""Of a multipart upload to S3; a file up to this long is one request."""
_ASKED: Final = 2
"""Whether the model is there, and which round the copy is of."""
_CONNECTIONS: Final = Limits().connections
MONTH_SECONDS: Final = 30 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What it takes.

    Parameters
    ----------
    scenario : Scenario
    workers_for_cores, workers_for_slots : int
        Processes that each of these alone would take.
    workers : int
        Processes that clients reach.
    middle : tuple of int
        Processes of each tier between them and the master, from below.
    instances : int
        For all of these, and one for the master.
    traffic : Traffic
    master_cores : float
    worker_memory, master_memory : float
        MB of one process, connections and contributors included.
    puts, gets : int
        S3 requests of a round.
    stored_megabytes : float
        That a round leaves in S3.
    servers, balancer, s3, zones, internet : float
        Dollars of a round.
    """

    scenario: Scenario
    workers_for_cores: int
    workers_for_slots: int
    workers: int
    middle: tuple[int, ...]
    instances: int
    traffic: Traffic
    master_cores: float
    worker_memory: float
    master_memory: float
    puts: int
    gets: int
    stored_megabytes: float
    servers: float
    balancer: float
    s3: float
    zones: float
    internet: float

    @property
    def depth(self) -> int:
        """Tiers of servers."""
        return 2 + len(self.middle)

    @property
    def dollars(self) -> float:
        """Of a round, without what goes out to the internet."""
        return self.servers + self.balancer + self.s3 + self.zones

    @property
    def rounds_per_month(self) -> float:
        """How many rounds a month has."""
        return MONTH_SECONDS / self.scenario.round_seconds


def s3_requests(megabytes: float) -> tuple[int, int]:
    """Return how often a round writes to S3, and how often it asks whether something is there."""
    model = 1 if megabytes <= PART_MEGABYTES else math.ceil(megabytes / PART_MEGABYTES) + 2
    if 1e6 * megabytes <= LARGEST_SENT_AGAIN:
        return 2 * model + 2, _ASKED  # model, copy, manifest and head
    return model + math.ceil(megabytes / (COPIED_PART_BYTES / 1e6)) + 2 + 2, _ASKED


def size(costs: Costs, scenario: Scenario, prices: Prices) -> Deployment:
    """Return a deployment for a scenario.

    Raises
    ------
    ValueError
        No tree of workers takes as much in, or polls alone take a whole core.
    """
    between = tiers_between(costs, prices, scenario)
    for_cores = _workers_for_cores(costs, scenario)
    first = traffic(costs, prices, scenario, (1, *between, 1))  # what a partial holds hangs on upstreams alone
    for_slots = _workers_for_slots(scenario, first.held[0])
    workers = max(2, for_slots, for_cores)
    moves = traffic(costs, prices, scenario, (workers, *between, 1))
    worker_memory = costs.worker_memory.at(scenario.megabytes)
    worker_memory += costs.connection_kilobytes / 1000 * min(scenario.clients / workers, _CONNECTIONS)
    instances = 1 + _instances(prices, scenario.use, workers + sum(between), worker_memory, moves)
    stored = scenario.megabytes + scenario.clients * costs.manifest_bytes / 1e6
    puts, gets = s3_requests(scenario.megabytes)
    hours, moved = scenario.round_seconds / 3600, scenario.clients * scenario.megabytes / 1000
    top = moves.held[-1]
    return Deployment(
        scenario=scenario,
        workers_for_cores=for_cores,
        workers_for_slots=for_slots,
        workers=workers,
        middle=between,
        instances=instances,
        traffic=moves,
        master_cores=scenario.updates_per_second / top * costs.partial_milliseconds(scenario.megabytes, top) / 1000,
        worker_memory=worker_memory,
        master_memory=costs.master_memory.at(scenario.megabytes)
        + scenario.clients * costs.contributor_kilobytes / 1000,
        puts=puts,
        gets=gets,
        stored_megabytes=stored,
        servers=instances * prices.instance_hour * hours,
        balancer=prices.balancer_hour * hours + 2 * moved * prices.balancer_gigabyte,
        s3=puts * prices.put + gets * prices.get + stored / 1000 * prices.stored_gigabyte_month,
        zones=scenario.round_seconds * moves.between_tiers / 1000 * prices.zone_gigabyte * 2 / 3,
        internet=moved * prices.internet_gigabyte,
    )


def _instances(prices: Prices, use: float, processes: int, memory: float, moves: Traffic) -> int:
    """Return the instances of all workers: each of cores, memory, network and disk may be what takes most."""
    return max(
        math.ceil(processes / prices.instance_cores),
        math.ceil(processes * memory / 1000 / prices.instance_gigabytes / use),
        math.ceil(max(moves.into_workers, moves.out_of_workers) / prices.link_megabytes / use),
        math.ceil(moves.written / prices.instance_disk_megabytes / use),
    )


def _workers_for_slots(scenario: Scenario, held: float) -> int:
    """Return the processes that transfers take which are under way at once, or wait for a partial."""
    transfers = scenario.updates_per_second * 2 * 8 * scenario.megabytes / scenario.client_megabits
    return math.ceil(transfers / (SLOTS * scenario.use - _WAITING * held))


def _workers_for_cores(costs: Costs, scenario: Scenario) -> int:
    """Return the processes, of a core each, that updates, downloads and polls of all clients take."""
    per_client = costs.update.at(scenario.megabytes) + costs.download.at(scenario.megabytes)
    busy = scenario.updates_per_second * per_client / 1000
    slowest = scenario.clients / SLOWEST * costs.poll / 1000  # as seldom as clients are ever asked to ask
    share = POLLS_PER_SECOND * costs.poll / 1000  # of each worker, by which pauses are chosen
    left = scenario.use - costs.idle_cores
    if share >= left:
        raise ValueError(f"polls alone take {share + costs.idle_cores:.2f} of a worker's core")
    return math.ceil(max((busy + slowest) / left, busy / (left - share)))
