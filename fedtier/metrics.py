"""Prometheus metrics that programs of all tiers have, each program in a registry of its own.

Labels take their values from short lists that are written down here or in the code: never an id, a path, an address or
a token, so what a scrape returns stays small whatever is sent to a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Literal, TypeAlias, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from fedtier.problems import NAMES, Problem
from fedtier.rounds import RoundStatus, State

Tier: TypeAlias = Literal["client", "worker", "master"]
Kind: TypeAlias = Literal["update", "partial"]
Outcome: TypeAlias = Literal["counted", "refused", "unavailable", "broken_off", "failed"]
Content: TypeAlias = Literal["update", "partial", "model", "other"]

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
"""Buckets for what a server does for one request or one file."""
LONG_SECONDS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
"""Buckets for rounds and trainings."""
SIZES: Final = tuple(float(1 << power) for power in range(10, 36, 3))
"""Buckets in bytes, from 1 KiB to 16 GiB."""
NUMBERS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)
"""Buckets for contributors."""


class Metrics:
    """What programs of all tiers count.

    Parameters
    ----------
    tier : {"client", "worker", "master"}
    """

    def __init__(self, tier: Tier) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Info("fedtier_build", "Version and tier of the program.", registry=self.registry)
        build.info({"version": _version(), "tier": tier})
        self.uploads = Uploads(self.registry)
        self.traffic = Traffic(self.registry)
        self.refusals = ByReason("fedtier_refusals_total", "Requests that were refused, by problem.", self.registry)
        self.retries = ByReason("fedtier_retries_total", "Tries that had to be made again, by reason.", self.registry)
        self.round = RoundGauges(self.registry)

    def seconds(self, name: str, what: str, buckets: tuple[float, ...] = SECONDS) -> Histogram:
        """Return a new histogram ``fedtier_<name>_seconds``."""
        return Histogram(f"fedtier_{name}_seconds", what, registry=self.registry, buckets=buckets)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return what a scrape returns, and its media type.

        Parameters
        ----------
        accept : str
            The scraper's `Accept` header; may be empty.
        """
        encode, media_type = choose_encoder(accept)
        return encode(_WithoutCreated(self.registry)), media_type


class Uploads:
    """Counts uploads by what became of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = Counter(
            "fedtier_uploads",
            "Uploads by what became of them; a repeat of what is counted already is answered, and counted here, again.",
            ["kind", "outcome"],
            registry=registry,
        )
        kinds, outcomes = get_args(Kind), get_args(Outcome)
        self._ended = {(kind, outcome): counter.labels(kind, outcome) for kind in kinds for outcome in outcomes}

    def ended(self, kind: Kind, outcome: Outcome) -> None:
        """Count one.

        Parameters
        ----------
        kind : {"update", "partial"}
        outcome : {"counted", "refused", "unavailable", "broken_off", "failed"}
            Answered with 200; refused for good; to be sent again; its body did not come to its end; a bug.
        """
        self._ended[kind, outcome].inc()


class Traffic:
    """Counts bytes of bodies, by what they hold."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counters(direction: str, what: str) -> dict[str, Counter]:
            counter = Counter(f"fedtier_{direction}_bytes", what, ["content"], registry=registry)
            return {content: counter.labels(content) for content in get_args(Content)}

        self._received = counters("received", "Bytes of bodies that came in.")
        self._sent = counters("sent", "Bytes of bodies that were sent, or begun to be sent.")

    def received(self, content: Content, size: int) -> None:
        """Add bytes that came in."""
        self._received[content].inc(size)

    def sent(self, content: Content, size: int) -> None:
        """Add bytes that were sent."""
        self._sent[content].inc(size)


class ByReason:
    """Counts something by reasons: problems' names, and a few words more; whatever else is ``other``."""

    def __init__(self, name: str, what: str, registry: CollectorRegistry, *, label: str = "reason") -> None:
        self._counter = Counter(name, what, [label], registry=registry)

    def add(self, reason: str) -> None:
        """Count one."""
        self._counter.labels(reason if reason in _REASONS else "other").inc()

    def add_error(self, error: Exception) -> None:
        """Count one by what was raised; what is no `Problem` is that nobody answered."""
        self.add(error.name if isinstance(error, Problem) else "unreachable")


_REASONS: Final = NAMES | {Problem.name, "counted", "unreachable", "s3", "disk"}


@dataclass(frozen=True, slots=True)
class RoundView:
    """How the round stands as a program knows it.

    Parameters
    ----------
    round, attempt, counted, threshold : int
    state : State
    age : float
        Seconds since it was opened, or first seen by this program.
    """

    round: int
    attempt: int
    counted: int
    threshold: int
    state: State
    age: float


class RoundGauges(Collector):
    """Shows how the round stands when somebody looks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.look: Callable[[], RoundView | None] = lambda: None
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Return the gauges; they have no value while no round is known."""
        view = self.look()
        numbers: tuple[tuple[str, str, str], ...] = (
            ("fedtier_round", "The open round.", "round"),
            ("fedtier_attempt", "Its attempt.", "attempt"),
            ("fedtier_counted_clients", "Clients that are counted in it.", "counted"),
            ("fedtier_threshold_clients", "Clients at which it closes.", "threshold"),
            ("fedtier_round_age_seconds", "Since it was opened, or first seen by this program.", "age"),
        )
        for name, what, field in numbers:
            yield GaugeMetricFamily(name, what, value=None if view is None else float(getattr(view, field)))
        states = GaugeMetricFamily("fedtier_round_state", "1 for the state that the round is in.", labels=["state"])
        if view is not None:
            for state in get_args(State):
                states.add_metric([state], float(view.state == state))
        yield states


def view_of(status: RoundStatus, age: float) -> RoundView:
    """Return how a round stands by the document that shows it, and its age in seconds."""
    return RoundView(status.round, status.attempt, status.counted, status.threshold, status.state, age)


class Silence:
    """Shows for how long the server one tier up has not answered.

    Parameters
    ----------
    registry : CollectorRegistry
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answered = clock()
        gauge = Gauge("fedtier_upstream_silence_seconds", "Since the server one tier up answered.", registry=registry)
        gauge.set_function(lambda: self._clock() - self._answered)

    def broken(self) -> None:
        """Note that it answered just now."""
        self._answered = self._clock()


class _WithoutCreated(Collector):
    """What is in a registry, without the times since when each number is counted, which double a scrape's size."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def _version() -> str:
    try:
        return version("fedtier")
    except PackageNotFoundError:
        return "unknown"
