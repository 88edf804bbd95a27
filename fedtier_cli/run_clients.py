"""The clients of a run as whoever watches it sees them, wherever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from fedtier_cli.processes import Event


class Clients(ABC):
    """Clients that were told to train until a round is published.

    Parameters
    ----------
    names : sequence of str
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether any client is still to stop."""

    @abstractmethod
    def takes(self, event: Event) -> bool:
        """Take note of what a child did; return whether it was one through which clients speak.

        Raises
        ------
        RunFailed
            A client ended that should not.
        """

    @abstractmethod
    def tend(self, now: float, published: int) -> None:
        """Do what is due; called again and again.

        Parameters
        ----------
        now : float
            Monotonic seconds.
        published : int
            The newest published round.
        """

    @abstractmethod
    def stop(self) -> None:
        """End all that still run."""

    @abstractmethod
    def having(self, wanted: int) -> str:
        """Return how so many clients would take part, as the end of a sentence."""

    @property
    @abstractmethod
    def having_others(self) -> str:
        """How those of an earlier call would take part, as the end of a sentence."""
