"""Files that are hashed while they are written, so that nothing has to be read again to know its SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, Protocol

_BLOCK: Final = 1 << 20
"""Bytes that are hashed and then written while the processor's cache still has them."""


class Writable(Protocol):
    """Takes all the bytes that it is given, as buffered files do."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Write some bytes and return how many."""
        ...


class HashedFile:
    """Writes to a file, and knows the SHA-256 of what it holds.

    Parameters
    ----------
    file : Writable
    before : Path, optional
        The file's content so far; without it there is none.

    Raises
    ------
    OSError
    """

    def __init__(self, file: Writable, before: Path | None = None) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        if before is not None:
            with before.open("rb") as written:
                self._digest = hashlib.file_digest(written, "sha256")

    def write(self, data: bytes | memoryview, /) -> int:
        """Write all of some bytes and return how many.

        Raises
        ------
        OSError
        """
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _BLOCK):
            block = view[start : start + _BLOCK]
            self._digest.update(block)
            self._file.write(block)
        return len(view)

    @property
    def sha256(self) -> str:
        """The SHA-256 of all of it, in hex."""
        return self._digest.hexdigest()
