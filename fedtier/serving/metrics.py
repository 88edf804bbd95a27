"""What both aggregators count besides what every program does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fedtier.metrics import NUMBERS, SECONDS, SIZES, Kind, Metrics, Tier
from fedtier.serving.front.connection_metrics import ConnectionMetrics
from fedtier.serving.shares import TransferSlots
from fedtier.serving.statedir import StateDirectory

UNMATCHED: Final = "unmatched"
"""Stands for every path that is no route of the app."""
_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"})


class AggregatorMetrics(Metrics):
    """What an aggregator counts.

    Parameters
    ----------
    tier : {"worker", "master"}
    """

    def __init__(self, tier: Tier) -> None:
        super().__init__(tier)
        registry = self.registry
        self.connections = ConnectionMetrics(registry)
        self._requests = Counter(
            "fedtier_requests",
            "Requests that were answered, by route, method and class of status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "fedtier_request_seconds",
            "From a request's head to its answer's; a model is sent after that.",
            ["route"],
            registry=registry,
            buckets=SECONDS,
        )
        self._receive = _by_kind(self, "receive", "For the body of an upload to come in.")
        self._check = _by_kind(self, "check", "To check an upload that came in.")
        self._batch = Histogram(
            "fedtier_batch_contributors", "Contributors of a partial.", registry=registry, buckets=NUMBERS
        )
        self._partial = Histogram("fedtier_partial_bytes", "Bytes of a partial.", registry=registry, buckets=SIZES)
        self._contributors = Counter(
            "fedtier_contributors", "Clients that were counted, each once in each round and attempt.", registry=registry
        )

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request.

        Parameters
        ----------
        route : str
            As the app has it, with the names of its parts and not their values; or `UNMATCHED`.
        method : str
        status : int
        seconds : float
        """
        known = method if method in _METHODS else "other"
        self._requests.labels(route, known, f"{status // 100}xx").inc()
        self._request_seconds.labels(route).observe(seconds)

    def received(self, kind: Kind, seconds: float) -> None:
        """Count the body of an upload that came in whole."""
        self._receive[kind].observe(seconds)

    def checked(self, kind: Kind, seconds: float) -> None:
        """Count an upload that passed its checks."""
        self._check[kind].observe(seconds)

    def partial(self, contributors: int, size: int) -> None:
        """Count a partial: a worker those that it makes, a master those that it counts."""
        self._batch.observe(contributors)
        self._partial.observe(size)

    def counted(self, contributors: int) -> None:
        """Count clients that are counted now: in the master's sum, or a worker's for which its upstream said so."""
        self._contributors.inc(contributors)

    def watch(self, slots: TransferSlots, state: StateDirectory) -> None:
        """Show how an aggregator's slots and its disk stand whenever somebody looks."""
        self.registry.register(_Room(slots, state))


def _by_kind(metrics: Metrics, name: str, what: str) -> dict[Kind, Histogram]:
    histogram = Histogram(f"fedtier_{name}_seconds", what, ["kind"], registry=metrics.registry, buckets=SECONDS)
    return {"update": histogram.labels("update"), "partial": histogram.labels("partial")}


class _Room(Collector):
    """What there is of slots and disk, and what of it is used."""

    def __init__(self, slots: TransferSlots, state: StateDirectory) -> None:
        self._slots = slots
        self._state = state

    def describe(self) -> list[Metric]:
        """Return nothing: a disk that cannot be read must not keep a server from starting."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("fedtier_transfer_slots", "Uploads and downloads at once.", value=self._slots.total)
        yield GaugeMetricFamily("fedtier_transfer_slots_used", "Of these, in use now.", value=self._slots.used)
        yield GaugeMetricFamily("fedtier_spool_bytes", "Bytes in the spool.", value=_size_of(self._state.spool))
        with suppress(OSError):
            disk = os.statvfs(self._state.spool)
            free = disk.f_bavail * disk.f_frsize
            yield GaugeMetricFamily("fedtier_disk_free_bytes", "Free on the state directory's disk.", value=free)


def _size_of(folder: os.PathLike[str]) -> int:
    """Return the bytes of a folder's files; the spool holds no more files than there are uploads."""
    size = 0
    with suppress(OSError), os.scandir(folder) as files:
        for file in files:
            with suppress(OSError):  # gone since it was listed
                size += file.stat().st_size
    return size
