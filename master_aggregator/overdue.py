"""The mark of a round that closes before its deadline and below its threshold: the operator's wish, or no room.

Clients that are told so do not come back in that attempt. A master that forgot it in a crash would wait for them.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from fedtier.rounds import RoundPlan
from fedtier.serving.statedir import sync_directory, sync_file


class OverdueMark:
    """A file that names one round and attempt; found after that one, it means nothing.

    Parameters
    ----------
    folder : Path
        The master's state directory.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "overdue"
        self._lock = threading.Lock()

    def set(self, plan: RoundPlan) -> None:
        """Name a round, durably; until it is named, what was named before still is.

        Raises
        ------
        OSError
        """
        temporary = self._path.with_suffix(".tmp")
        with self._lock:
            if self.names(plan):
                return
            try:
                temporary.write_bytes(_name(plan))
                sync_file(temporary)
                os.replace(temporary, self._path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            sync_directory(self._path.parent)

    def names(self, plan: RoundPlan) -> bool:
        """Return whether it names this round and attempt.

        Raises
        ------
        OSError
            It is there and cannot be read.
        """
        try:
            return self._path.read_bytes() == _name(plan)
        except FileNotFoundError:
            return False


def _name(plan: RoundPlan) -> bytes:
    return f"round {plan.round} attempt {plan.attempt}\n".encode()
