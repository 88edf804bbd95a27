"""A file on its way to the disk while other work goes on."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from pathlib import Path


class Durability:
    """Makes a file and its name durable, in a thread of its own.

    Parameters
    ----------
    path : Path
        Has all its bytes; may be renamed meanwhile, but not written to.

    Raises
    ------
    OSError
        It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        # A thread takes itself for ended where waiting for it was broken off by a signal's handler.
        self._ended: Future[None] = Future()
        descriptor = os.open(path, os.O_RDWR)  # Windows flushes nothing that is open for reading only
        threading.Thread(target=self._sync, args=(descriptor, path.parent), name="fsync").start()

    def wait(self) -> None:
        """Return when the file is durable.

        Raises
        ------
        OSError
            It could not be made so.
        """
        self._ended.result()

    def _sync(self, descriptor: int, folder: Path) -> None:
        try:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_directory(folder)
        except BaseException as error:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, where the system lets a program open one.

    Raises
    ------
    OSError
    """
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
