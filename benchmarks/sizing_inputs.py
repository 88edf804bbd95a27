"""What a deployment is sized from: costs as they were measured, prices, and what is wanted. Values, no arithmetic.

Seconds and core-milliseconds are said in names, MB and GB are 10**6 and 10**9 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Curve:
    """What was measured at some places, and straight lines between them.

    Before the first place and beyond the last one the nearest line goes on; one place alone is the same everywhere.

    Parameters
    ----------
    places : tuple of (float, float)
        Ascending, each with the value there.
    """

    places: tuple[tuple[float, float], ...]

    def at(self, place: float) -> float:
        """Return the value at a place, never less than nothing."""
        if len(self.places) == 1:
            return self.places[0][1]
        (left, low), (right, high) = next(
            (pair for pair in pairwise(self.places) if place <= pair[1][0]), (self.places[-2], self.places[-1])
        )
        return max(0.0, low + (high - low) * (place - left) / (right - left))


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What was measured.

    Parameters
    ----------
    update, download : Curve
        Core-ms of a worker for an update, and for a model that a client gets, by the MB of the model.
    partial : Curve
        Core-ms of an upstream for a partial, by the MB of the model.
    poll : float
        Core-ms of a worker.
    idle_cores : float
        Of a worker that nobody asks: it asks its upstream.
    contributor : float
        Core-ms of an upstream for one more contributor of a partial.
    partial_bytes : Curve
        Of a partial, over those of the model, by its contributors.
    worker_memory, master_memory : Curve
        MB of PSS of one process, by the MB of the model.
    connection_kilobytes : float
        Of a worker, for a client that only polls.
    manifest_bytes, header_bytes : float
        Of a contributor in a manifest, and in a partial.
    contributor_kilobytes : float
        Of the master's memory, until the round is published.
    """

    update: Curve
    download: Curve
    partial: Curve
    poll: float
    idle_cores: float
    contributor: float
    partial_bytes: Curve
    worker_memory: Curve
    master_memory: Curve
    connection_kilobytes: float
    manifest_bytes: float
    header_bytes: float
    contributor_kilobytes: float

    def partial_megabytes(self, megabytes: float, contributors: float) -> float:
        """Return the MB of a partial of a model of so many MB, the list of its contributors included."""
        return megabytes * self.partial_bytes.at(contributors) + contributors * self.header_bytes / 1e6

    def partial_milliseconds(self, megabytes: float, contributors: float) -> float:
        """Return the core-ms that an upstream needs for a partial."""
        return self.partial.at(megabytes) + self.contributor * contributors


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """List prices in dollars, on demand, us-east-1, and what an instance has.

    Parameters
    ----------
    instance_hour : float
        Of a c7g.2xlarge.
    instance_cores, instance_gigabytes, instance_gigabits : float
        What it has; bits per second that it always has, in each direction.
    instance_disk_megabytes : float
        Per second, that it can always write to volumes of EBS that are not slower.
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
    instance_disk_megabytes: float = 312.5
    balancer_hour: float = 0.0225
    balancer_gigabyte: float = 0.006
    put: float = 0.005 / 1000
    get: float = 0.0004 / 1000
    stored_gigabyte_month: float = 0.023
    zone_gigabyte: float = 0.02
    internet_gigabyte: float = 0.09

    @property
    def link_megabytes(self) -> float:
        """MB per second of an instance's network, in each direction."""
        return self.instance_gigabits * 1000 / 8

    @property
    def taken_in_megabytes(self) -> float:
        """MB per second that an instance receives and writes to its disk."""
        return min(self.link_megabytes, self.instance_disk_megabytes)


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
