"""What a client counts besides what every program does; clients that share a process share the numbers."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter

from fedtier.metrics import LONG_SECONDS, Metrics, RoundView, Silence, view_of
from fedtier.rounds import RoundStatus


class ClientMetrics(Metrics):
    """What the clients of a process count.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__("client")
        self._clock = clock
        self.silence = Silence(self.registry, clock)
        self.upload = self.seconds("upload", "From an update on disk to its answer, with all tries.", LONG_SECONDS)
        self._training = self.seconds("training", "To train for one round.", LONG_SECONDS)
        self._examples = Counter("fedtier_trained_examples", "Examples of finished trainings.", registry=self.registry)
        self._status: RoundStatus | None = None
        self._seen_at = clock()
        self.round.look = self._view

    def trained(self, seconds: float, examples: int) -> None:
        """Count a training that came to its end."""
        self._training.observe(seconds)
        self._examples.inc(examples)

    def saw(self, status: RoundStatus) -> None:
        """Show a round from now on, unless a newer one is shown."""
        known = self._status
        if known is not None and status.pair < known.pair:
            return
        if known is None or status.pair > known.pair:
            self._seen_at = self._clock()
        self._status = status

    def _view(self) -> RoundView | None:
        return None if self._status is None else view_of(self._status, self._clock() - self._seen_at)
