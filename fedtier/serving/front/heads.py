"""The head of a request while it comes in: collected until gunicorn's parser can read all of it at once."""

from __future__ import annotations

import re
from typing import Final

_END: Final = re.compile(rb"\r\n\r\n|(?<!\r)\n")
"""An empty line; or a line that ends as none may, where the parser refuses the head without reading on."""
_OVERLAP: Final = 3
"""Bytes of an end that may have come with the block before."""


class Head:
    """Bytes of which the first are a head.

    Parameters
    ----------
    limit : int
        The most bytes that a head may have.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = bytearray()
        self._end: int | None = None

    def add(self, block: bytes) -> None:
        """Add bytes that came."""
        begin = max(0, len(self._bytes) - _OVERLAP)
        self._bytes += block
        if self._end is None and (found := _END.search(self._bytes, begin)):
            self._end = found.end()

    @property
    def is_begun(self) -> bool:
        """Whether anything came."""
        return bool(self._bytes)

    @property
    def is_complete(self) -> bool:
        """Whether the parser needs no more than there is."""
        return self._end is not None and not self.is_too_large

    @property
    def is_too_large(self) -> bool:
        """Whether it is longer than a head may be."""
        return (self._end or len(self._bytes)) > self._limit

    def take(self) -> bytes:
        """Return all that came, and begin anew."""
        taken = bytes(self._bytes)
        self._bytes.clear()
        self._end = None
        return taken
