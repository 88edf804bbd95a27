"""Sees what the front does with those who connect: counts it, and says it without a line for each."""

from __future__ import annotations

from collections.abc import Callable

from fedtier.serving.front.connection_metrics import ConnectionMetrics, FrontView, Parting
from fedtier.serving.summary_log import SummaryLog


class ConnectionWatch:
    """Counts and logs. Safe for use by several threads at once.

    Parameters
    ----------
    metrics : ConnectionMetrics
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, metrics: ConnectionMetrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._log = SummaryLog("connections let go", clock)

    def accepted(self) -> None:
        """Take note that somebody connected."""
        self._metrics.accepted.inc()

    def let_go(self, reason: Parting, address: str, detail: str) -> None:
        """Take note of a connection that the server ended.

        Parameters
        ----------
        reason : Parting
        address : str
            Of the other end.
        detail : str
        """
        self._metrics.let_go(reason)
        self._log.add(reason, address, detail)

    def show(self, look: Callable[[], FrontView]) -> None:
        """Have metrics show how connections stand; `look` is called by other threads."""
        self._metrics.look = look

    def show_certificate(self, end: Callable[[], float | None]) -> None:
        """Have metrics show when the server's certificate ends, in seconds since 1970."""
        self._metrics.certificate_end = end
