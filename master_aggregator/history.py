"""Which manifest and which model each published round has: asked of S3 once, and remembered."""

from __future__ import annotations

import threading

from fedtier.problems import NotFound, Unavailable
from fedtier.rounds import ModelDigest
from fedtier.store import RoundStore, StoreCorrupt, StoreUnavailable


class History:
    """Finds published rounds by number.

    Parameters
    ----------
    store : RoundStore
    """

    def __init__(self, store: RoundStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[int, tuple[str, ModelDigest]] = {}

    def find(self, round_number: int, newest: int) -> tuple[str, ModelDigest]:
        """Return the digests of a published round's manifest and model.

        Parameters
        ----------
        round_number : int
        newest : int
            The round that was published last.

        Raises
        ------
        NotFound
            It is not published.
        Unavailable
            S3 does not say.
        """
        if round_number > newest:
            raise NotFound(f"round {round_number} is not published; the newest is {newest}")
        with self._lock:
            if round_number not in self._known:
                try:
                    self._known.update(self._published_since())
                except (StoreUnavailable, StoreCorrupt) as error:
                    raise Unavailable(str(error), retry_after=2) from error
            return self._known[round_number]

    def _published_since(self) -> dict[int, tuple[str, ModelDigest]]:
        """Follow the manifests from the newest back to one that is known, all the way or not at all."""
        found: dict[int, tuple[str, ModelDigest]] = {}
        for published in self._store.history():
            if published.round in self._known:
                break
            found[published.round] = published.manifest_sha256, published.manifest.model
        return found
