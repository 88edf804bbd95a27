"""How many bytes lie in the spool, or are on their way there, and how many may: the disk is used by others too."""

from __future__ import annotations

import threading

from fedtier.problems import Unavailable


class SpoolQuota:
    """Accounts for the files of a spool. Safe for use by several threads at once.

    Parameters
    ----------
    most : int
        Bytes beyond which nothing more is admitted.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._taken = 0

    @property
    def taken(self) -> int:
        """Bytes that are there, or may come."""
        return self._taken

    @property
    def left(self) -> int:
        """Bytes that are admitted still; negative where the server's own files took more."""
        return self._most - self._taken

    def admit(self, name: str, size: int) -> None:
        """Reserve bytes for a file that somebody wants to send.

        Raises
        ------
        Unavailable
            There are not so many left.
        """
        if size > self._most:
            raise Unavailable(
                f"a body of {size} bytes is more than the whole spool of this server may hold, {self._most} bytes; "
                "whoever runs it can raise --spool-max",
                retry_after=30,
            )
        with self._lock:
            if self._taken + size > self._most:
                raise Unavailable(
                    f"the spool is full: {self._taken} of {self._most} bytes are taken by {len(self._sizes)} files, "
                    f"and this body has {size}; they make room when they are counted",
                    retry_after=1,
                )
            self._set(name, size)

    def count(self, name: str, size: int) -> None:
        """Count a file whatever is taken: one of the server's own, without which nothing would become free."""
        with self._lock:
            self._set(name, size)

    def let_go(self, name: str) -> None:
        """Count a file no more; it is deleted, or lies elsewhere."""
        with self._lock:
            self._taken -= self._sizes.pop(name, 0)

    def _set(self, name: str, size: int) -> None:
        self._taken += size - self._sizes.get(name, 0)
        self._sizes[name] = size
