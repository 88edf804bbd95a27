"""The models an aggregator serves: each fetched once, kept in a file, the oldest let go."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from fedtier.rounds import BaseRound


class ModelShelf:
    """Model files by digest.

    Parameters
    ----------
    folder : Path
        Holds ``<sha256>.safetensors``. Emptied first: a file that a crash cut short looks like any other.
    fetch : callable
        ``fetch(base, destination)`` writes a verified model to a file that appears complete.
    capacity : int
        How many models are kept.
    """

    def __init__(self, folder: Path, fetch: Callable[[BaseRound, Path], None], *, capacity: int = 3) -> None:
        self._folder = folder
        self._fetch = fetch
        self._capacity = capacity
        self._lock = threading.Lock()
        self._held: OrderedDict[str, None] = OrderedDict()
        self._fetching: dict[str, threading.Lock] = {}
        for leftover in folder.iterdir():
            leftover.unlink()

    def path(self, base: BaseRound) -> Path:
        """Return the file of a model, fetching it when it is not there.

        One thread fetches it; others that want the same model wait for it, and nobody else.

        Raises
        ------
        Exception
            Whatever `fetch` raises.
        """
        path = self._file(base.sha256)
        with self._lock:
            if self._is_held(base.sha256):
                return path
            fetching = self._fetching.setdefault(base.sha256, threading.Lock())
        with fetching:
            with self._lock:
                if self._is_held(base.sha256):
                    return path
            self._fetch(base, path)
            with self._lock:
                self._remember(base.sha256)
        return path

    def adopt(self, path: Path, sha256: str) -> Path:
        """Take over a finished model file by hard link, and return where it is kept."""
        kept = self._file(sha256)
        with self._lock:
            kept.unlink(missing_ok=True)
            os.link(path, kept)
            self._remember(sha256)
        return kept

    def _is_held(self, sha256: str) -> bool:
        if sha256 not in self._held:
            return False
        if not self._file(sha256).exists():  # whoever clears caches away does no harm
            del self._held[sha256]
            return False
        self._held.move_to_end(sha256)
        return True

    def _remember(self, sha256: str) -> None:
        self._held[sha256] = None
        self._held.move_to_end(sha256)
        while len(self._held) > self._capacity:
            oldest = next(iter(self._held))
            self._file(oldest).unlink(missing_ok=True)
            del self._held[oldest]

    def _file(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.safetensors"
