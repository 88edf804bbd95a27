"""Files on their way out as the body of a request: in parts that a connection may hand to the kernel unread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

BLOCK: Final = 1 << 20
"""Bytes sent or received at a time, where urllib3 would take 16 KiB."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """The bytes of an open file from `start` up to `stop`; iterated, it reads them in blocks."""

    file: BinaryIO
    start: int
    stop: int

    def __iter__(self) -> Iterator[bytes]:
        at = self.start
        while at < self.stop:
            self.file.seek(at)
            block = self.file.read(min(BLOCK, self.stop - at))
            if not block:
                raise cut_short()
            at += len(block)
            yield block


class FileBody:
    """A file as a body, whose end can be held back.

    It begins anew each time it is iterated, as a redirect needs it.

    Parameters
    ----------
    file : BinaryIO
        Open for reading; it does not change meanwhile.
    size : int
        Bytes in the file.
    before_end : callable, optional
        Returns when the last block may be sent; an OSError of it ends the request.

    Attributes
    ----------
    failure : OSError or None
        Of `before_end`: of the request itself comes only that it was broken off.
    """

    def __init__(self, file: BinaryIO, size: int, before_end: Callable[[], None] | None = None) -> None:
        self._file = file
        self._size = size
        self._before_end = before_end
        self.failure: OSError | None = None

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[FilePart]:
        end = 0 if self._before_end is None else max(self._size - BLOCK, 0)
        if end:
            yield FilePart(self._file, 0, end)
        if self._before_end is not None:
            try:
                self._before_end()
            except OSError as error:
                self.failure = error
                raise
        yield FilePart(self._file, end, self._size)


def cut_short() -> ConnectionAbortedError:
    """Return what is raised where a file has fewer bytes than were promised."""
    return ConnectionAbortedError("the file ended before its body did")
