"""Files of bodies that are done, kept so that the next bodies are written over them: their pages are there already."""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

LEAST_BYTES: Final = 1 << 16
"""Of a file that is worth keeping; to make a smaller one anew costs as much."""
MOST_BYTES: Final = 1 << 30
MOST_FILES: Final = 64


class SpareFiles:
    """A few files that nobody needs. Safe for use by several threads at once.

    What they hold is written over and cut off before anybody reads them again (`fedtier.overwriting`).

    Parameters
    ----------
    folder : Path
        Theirs alone, on the file system where they are needed.
    most_bytes, most_files : int
        Beyond which a file is deleted instead.
    """

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._taken = 0

    @property
    def taken(self) -> int:
        """Bytes that are kept."""
        return self._taken

    def keep(self, path: Path) -> None:
        """Take a file that nobody needs any more, or delete it; one that is not there is no loss.

        Raises
        ------
        OSError
            It lies where it lay.
        """
        try:
            size = path.lstat().st_size
        except FileNotFoundError:
            return
        if not self._take(path, size):
            path.unlink(missing_ok=True)

    def give(self, path: Path, size: int) -> None:
        """Have a file of at most so many bytes lie at a path where they are to be written, if there is one.

        Raises
        ------
        OSError
            One lies there that could not be cut off.
        """
        if size < LEAST_BYTES:
            return
        with self._lock:
            name = self._best_for(size)
            if name is None:
                return
            held = self._sizes[name]
            self._forget(name)
            try:
                (self._folder / name).rename(path)
            except OSError:  # without it the file is made anew
                return
        if held > size:  # what is given counts as the bytes that were announced, however long it takes to write them
            os.truncate(path, size)

    def shrink(self, most: int) -> bool:
        """Delete files until at most so many bytes are kept; return whether there was anything to delete."""
        deleted = False
        while self._taken > most:
            with self._lock:
                name = next(iter(self._sizes), None)
                if name is None:
                    break
                self._forget(name)
            with suppress(OSError):
                (self._folder / name).unlink()
                deleted = True
        return deleted

    def clear(self) -> None:
        """Delete every file in the folder, also what an earlier process kept.

        Raises
        ------
        OSError
        """
        with self._lock:
            self._sizes.clear()
            self._taken = 0
            for path in self._folder.iterdir():
                path.unlink()

    def _take(self, path: Path, size: int) -> bool:
        with self._lock:
            has_room = len(self._sizes) < self._most_files and self._taken + size <= self._most_bytes
            if size < LEAST_BYTES or not has_room:
                return False
            name = secrets.token_hex(16)
            try:
                path.rename(self._folder / name)
            except OSError:
                return False
            self._sizes[name] = size
            self._taken += size
            return True

    def _best_for(self, size: int) -> str | None:
        """Return the name of the smallest file with room for so many bytes, else of the largest."""

        def unfitness(name: str) -> tuple[bool, int]:
            return self._sizes[name] < size, abs(self._sizes[name] - size)

        return min(self._sizes, key=unfitness, default=None)

    def _forget(self, name: str) -> None:
        self._taken -= self._sizes.pop(name)
