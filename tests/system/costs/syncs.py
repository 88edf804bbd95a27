"""How often a program has the disk confirm what was written, counted within it, without a call to the system."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_COUNTER: Final = struct.Struct("q")
_CALLS: Final = ("fsync", "fdatasync", "sync")


def count_syncs(path: Path) -> None:
    """Have this process, and those it forks, count in a file how often it calls `os.fsync` and its kind."""
    with path.open("a+b") as file:
        file.truncate(_COUNTER.size)
        counter = mmap.mmap(file.fileno(), _COUNTER.size)
    lock = threading.Lock()

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def count_and_call(*arguments: Any) -> Any:
            with lock:
                _COUNTER.pack_into(counter, 0, _COUNTER.unpack_from(counter)[0] + 1)
            return call(*arguments)

        return count_and_call

    for name in _CALLS:
        if hasattr(os, name):
            setattr(os, name, counted(getattr(os, name)))


def read_syncs(path: Path) -> int:
    """Return how many there were so far."""
    count: int = _COUNTER.unpack(path.read_bytes())[0]
    return count
