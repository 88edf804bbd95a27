"""What a run has published in S3, wherever that S3 is."""

from __future__ import annotations

from fedtier.bucket_errors import StoreCorrupt, StoreUnavailable
from fedtier.problems import StartupError
from fedtier.store import RoundStore


class RunStore:
    """The rounds of a run.

    Parameters
    ----------
    rounds : RoundStore
    """

    def __init__(self, rounds: RoundStore) -> None:
        self.rounds = rounds

    def newest_round(self) -> int | None:
        """Return the newest published round, or None where nothing is published.

        Raises
        ------
        StartupError
        """
        try:
            stored = self.rounds.read_head()
        except (StoreUnavailable, StoreCorrupt) as error:
            raise StartupError(str(error)) from None
        return None if stored is None else stored.head.round

    def require_alive(self) -> None:
        """Raise `RunFailed` when the server has ended for good; one that is not the run's own comes back."""
