"""From what an update, a poll and a partial cost to the servers of a deployment: arithmetic, nothing measured. Pure.

In: costs, as `benchmarks.scale` measures them; prices; a scenario. Out: a deployment. Seconds and core-milliseconds
are said in names, MB and GB are 10**6 and 10**9 bytes, a month has 30 days of rounds without a pause.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fedtier.bucket import COPIED_PART_BYTES, DEFAULT_PART_BYTES
from fedtier.partial_headers import PARTIAL_HEADER_LIMIT
from fedtier.serving.front.limits import Limits
from fedtier.serving.pacing import POLLS_PER_SECOND, SLOWEST

BATCH_MAX: Final = 64
"""Updates, or partials, at which a worker sends a batch (`--batch-max`)."""
SLOTS: Final = 248
"""Transfers at once of one worker: its threads but eight, with ``--threads 256``; updates that wait hold one, too."""
_WAITING: Final = 1.5
"""Partials that an update waits for: the rest of the one that is under way, and its own."""
PART_MEGABYTES: Final = DEFAULT_PART_BYTES / 1e6
"""Of a multipart upload to S3; a file up to this long is one request."""
_COPIED_MEGABYTES: Final = 8.388608
"""From where on the copy is made within S3."""
_ASKED: Final = 2
"""Whether the model is there, and which round the copy is of."""
_CONNECTIONS: Final = Limits().connections
MONTH_SECONDS: Final = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Line:
    """What grows in a straight line with the model's size.

    Parameters
    ----------
    fixed : float
    per_megabyte : float
    """

    fixed: float
    per_megabyte: float

    def at(self, megabytes: float) -> float:
        """Return the value at a size."""
        return self.fixed + self.per_megabyte * megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What was measured.

    Parameters
    ----------
    update, download : Line
        Core-ms of a worker for an update, and for a model that a client gets.
    partial : Line
        Core-ms of an upstream for a partial, by the size of the model.
    poll : float
        Core-ms of a worker.
    idle_cores : float
        Of a worker that nobody asks: it asks its upstream.
    contributor : float
        Core-ms of an upstream for one more contributor of a partial.
    partial_bytes : float
        Of a partial, over those of the model.
    worker_memory, master_memory : Line
        MB of PSS of one process.
    connection_kilobytes : float
        Of a worker, for a client that only polls.
    manifest_bytes, header_bytes : float
        Of a contributor in a manifest, and in a partial.
    contributor_kilobytes : float
        Of the master's memory, until the round is published.
    """

    update: Line
    download: Line
    partial: Line
    poll: float
    idle_cores: float
    contributor: float
    partial_bytes: float
    worker_memory: Line
    master_memory: Line
    connection_kilobytes: float
    manifest_bytes: float
    header_bytes: float
    contributor_kilobytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """List prices in dollars, on demand, us-east-1, and what an instance has.

    Parameters
    ----------
    instance_hour : float
        Of a c7g.2xlarge.
    instance_cores, instance_gigabytes, instance_gigabits : float
        What it has; bits per second that it always has, in each direction.
    balancer_hour, balancer_gigabyte : float
        Of a Network Load Balancer; a unit of capacity an hour is a gigabyte an hour.
    put, get : float
        Of one S3 request.
    stored_gigabyte_month : float
        S3 Standard.
    zone_gigabyte : float
        Between two availability zones, both directions paid.
    internet_gigabyte : float
        Out to clients on the internet, the first 10 TB of a month.
    """

    instance_hour: float = 0.29
    instance_cores: int = 8
    instance_gigabytes: float = 16
    instance_gigabits: float = 3.75
    balancer_hour: float = 0.0225
    balancer_gigabyte: float = 0.006
    put: float = 0.005 / 1000
    get: float = 0.0004 / 1000
    stored_gigabyte_month: float = 0.023
    zone_gigabyte: float = 0.02
    internet_gigabyte: float = 0.09


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is wanted.

    Parameters
    ----------
    clients : int
        All take part in each round.
    megabytes : float
        Of the model, and of an update.
    round_seconds : float
        In which updates come evenly.
    client_megabits : float
        Per second of a client's connection, either way.
    use : float
        The part of a core, a connection or a server's slots that may be in use on average.
    """

    clients: int
    megabytes: float
    round_seconds: float
    client_megabits: float = 50.0
    use: float = 0.6

    @property
    def updates_per_second(self) -> float:
        """How many updates come in a second."""
        return self.clients / self.round_seconds


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
    in_gigabits, out_gigabits : float
        Per second, of all workers that clients reach.
    contributors_per_partial : float
        Of those that these workers send.
    master_megabytes_per_second : float
        That the master receives and journals.
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
    in_gigabits: float
    out_gigabits: float
    contributors_per_partial: float
    master_megabytes_per_second: float
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


def partial_milliseconds(costs: Costs, megabytes: float, contributors: float) -> float:
    """Return the core-ms that an upstream needs for a partial."""
    return costs.partial.at(megabytes) + costs.contributor * contributors


def updates_per_second(costs: Costs, scenario: Scenario, most: int) -> float:
    """Return how many updates a second one upstream process takes in, in full batches.

    Each worker has one batch under way and fills the next meanwhile, so batches grow with the load, up to the most
    contributors that one may have.
    """
    return scenario.use * most * 1000 / partial_milliseconds(costs, scenario.megabytes, most)


def contributors_per_partial(costs: Costs, megabytes: float, updates_per_second: float, most: float) -> float:
    """Return how many updates come while an upstream is busy with a partial: what the next one then holds.

    Parameters
    ----------
    costs : Costs
    megabytes : float
    updates_per_second : float
        That reach this upstream.
    most : float
        That one partial may hold.
    """
    rate = updates_per_second / 1000
    slack = 1 - rate * costs.contributor
    wanted = math.inf if slack <= 0 else rate * costs.partial.at(megabytes) / slack
    return min(max(wanted, 1.0), most)


def most_in_a_partial(costs: Costs, tier: int) -> int:
    """Return how many contributors a partial may stand for, of workers that clients reach (0) or of a tier above."""
    updates: int = BATCH_MAX ** (tier + 1)
    return min(updates, int(PARTIAL_HEADER_LIMIT / costs.header_bytes))


def s3_requests(megabytes: float) -> tuple[int, int]:
    """Return how often a round writes to S3, and how often it asks whether something is there."""
    model = 1 if megabytes <= PART_MEGABYTES else math.ceil(megabytes / PART_MEGABYTES) + 2
    if megabytes <= _COPIED_MEGABYTES:
        return 2 * model + 2, _ASKED  # model, copy, manifest and head
    return model + math.ceil(megabytes / (COPIED_PART_BYTES / 1e6)) + 2 + 2, _ASKED


def tiers_between(costs: Costs, scenario: Scenario) -> tuple[int, ...]:
    """Return the processes of each tier between workers and master, from below; none where the master is enough."""
    found: list[int] = []
    while True:
        most = updates_per_second(costs, scenario, most_in_a_partial(costs, len(found)))
        if scenario.updates_per_second <= most:
            return tuple(found)
        needed = math.ceil(scenario.updates_per_second / most)
        if found and needed >= found[-1]:
            raise ValueError(f"no tree of workers takes {scenario.updates_per_second:.0f} updates a second")
        found.append(needed)


def size(costs: Costs, scenario: Scenario, prices: Prices) -> Deployment:
    """Return a deployment for a scenario.

    Raises
    ------
    ValueError
        Contributors alone are more than a master can take in.
    """
    rate, megabytes, use = scenario.updates_per_second, scenario.megabytes, scenario.use
    between = tiers_between(costs, scenario)
    first = between[0] if between else 1
    held = contributors_per_partial(costs, megabytes, rate / first, BATCH_MAX)
    held_by_master = contributors_per_partial(costs, megabytes, rate, most_in_a_partial(costs, len(between)))
    into_master = rate / max(held, held_by_master)
    transfers = rate * 2 * 8 * megabytes / scenario.client_megabits
    for_slots = math.ceil(transfers / (SLOTS * use - _WAITING * held))
    for_cores = _workers_for_cores(costs, scenario)
    workers = max(2, for_slots, for_cores)
    gigabits = rate * megabytes * 8 / 1000
    connections = min(scenario.clients / workers, _CONNECTIONS)
    worker_memory = costs.worker_memory.at(megabytes) + costs.connection_kilobytes / 1000 * connections
    instances = max(
        math.ceil((workers + sum(between)) / prices.instance_cores),
        math.ceil(gigabits / prices.instance_gigabits / use),
        math.ceil((workers + sum(between)) * worker_memory / 1000 / prices.instance_gigabytes / use),
    )
    manifest = scenario.clients * costs.manifest_bytes / 1e6
    (puts, gets), stored = s3_requests(megabytes), megabytes + manifest
    partials = rate / held + (into_master if between else 0)
    hours, moved = scenario.round_seconds / 3600, scenario.clients * megabytes / 1000
    return Deployment(
        scenario=scenario,
        workers_for_cores=for_cores,
        workers_for_slots=for_slots,
        workers=workers,
        middle=between,
        instances=instances + 1,
        in_gigabits=gigabits,
        out_gigabits=gigabits,
        contributors_per_partial=held,
        master_megabytes_per_second=into_master * megabytes * costs.partial_bytes,
        master_cores=into_master * partial_milliseconds(costs, megabytes, rate / into_master) / 1000,
        worker_memory=worker_memory,
        master_memory=costs.master_memory.at(megabytes) + scenario.clients * costs.contributor_kilobytes / 1000,
        puts=puts,
        gets=gets,
        stored_megabytes=stored,
        servers=(instances + 1) * prices.instance_hour * hours,
        balancer=prices.balancer_hour * hours + 2 * moved * prices.balancer_gigabyte,
        s3=puts * prices.put + gets * prices.get + stored / 1000 * prices.stored_gigabyte_month,
        zones=scenario.round_seconds * partials * megabytes * costs.partial_bytes / 1000 * prices.zone_gigabyte * 2 / 3,
        internet=moved * prices.internet_gigabyte,
    )


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
