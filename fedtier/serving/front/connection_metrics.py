"""What an aggregator counts of connections: most of it never becomes a request that its app would see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Parting: TypeAlias = Literal[
    "head_deadline",
    "evicted",
    "turned_away",
    "head_too_large",
    "malformed_head",
    "tls_failed",
    "plain_http",
    "slow_upload",
    "slow_download",
    "slow_answer",
]
"""Why a server lets go of a connection, where that is news; that one was idle for long is not."""


@dataclass(frozen=True, slots=True)
class FrontView:
    """How a server's connections stand.

    Parameters
    ----------
    limit : int
        The most that may be open.
    threads : int
        The most that answer requests at once.
    waiting : Mapping
        How many are open, by the stage in which they wait.
    requests : int
        How many have sent a request and are not answered yet.
    """

    limit: int
    threads: int
    waiting: Mapping[str, int]
    requests: int

    @property
    def threads_used(self) -> int:
        """How many threads answer a request."""
        return min(self.threads, self.requests)

    @property
    def requests_waiting(self) -> int:
        """How many requests have come for which no thread is free."""
        return self.requests - self.threads_used


class ConnectionMetrics(Collector):
    """Counts connections, and shows how they stand when somebody looks.

    Parameters
    ----------
    registry : CollectorRegistry
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.look: Callable[[], FrontView | None] = lambda: None
        self.certificate_end: Callable[[], float | None] = lambda: None
        """Says until when the server's own certificate is valid, in seconds since 1970; None where it has none."""
        self.accepted: Final = Counter("fedtier_accepted_connections", "Connections that were made.", registry=registry)
        counter = Counter(
            "fedtier_connections_let_go",
            "Connections that the server ended before it had to, by reason.",
            ["reason"],
            registry=registry,
        )
        self._let_go = {reason: counter.labels(reason) for reason in get_args(Parting)}
        registry.register(self)

    def let_go(self, reason: Parting) -> None:
        """Count one that was ended."""
        self._let_go[reason].inc()

    def collect(self) -> Iterator[Metric]:
        """Return the gauges; they have no value before the server listens."""
        view = self.look()
        states = GaugeMetricFamily("fedtier_connections", "Open ones, by what they wait for.", labels=["state"])
        if view is not None:
            for state, number in {**view.waiting, "request": view.requests}.items():
                states.add_metric([state], number)
        yield states
        numbers: tuple[tuple[str, str, str], ...] = (
            ("fedtier_connection_limit", "Connections that may be open at once.", "limit"),
            ("fedtier_threads", "Requests that are answered at once.", "threads"),
            ("fedtier_threads_used", "Requests that are answered now.", "threads_used"),
            ("fedtier_requests_waiting", "Requests that wait for a thread.", "requests_waiting"),
        )
        for name, what, field in numbers:
            yield GaugeMetricFamily(name, what, value=None if view is None else float(getattr(view, field)))
        yield GaugeMetricFamily(
            "fedtier_certificate_not_after_seconds",
            "When the certificate that the server shows ends, in seconds since 1970.",
            value=self.certificate_end(),
        )
