"""What a worker counts besides what both aggregators do."""

from __future__ import annotations

from collections.abc import Callable

from fedtier.metrics import LONG_SECONDS, ByReason, Silence
from fedtier.serving.metrics import AggregatorMetrics


class WorkerMetrics(AggregatorMetrics):
    """What a worker counts.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__("worker")
        self.silence = Silence(self.registry, clock)
        self.seal = self.seconds("seal", "To add up a batch and write it as a partial.")
        self.forward = self.seconds("forward", "From a batch to its upstream's answer, with all tries.", LONG_SECONDS)
        self.batches = ByReason(
            "fedtier_batches_total", "Batches by the upstream's answer.", self.registry, label="outcome"
        )
