"""The folder that one aggregator owns: locked, private, with its spool and its models."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from pathlib import Path
from typing import Final

from fedtier.problems import StartupError, Unavailable

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PROBE_BYTES: Final = 1 << 16


class StateDirectory:
    """An aggregator's folder on disk.

    Parameters
    ----------
    path : Path
        Made when missing, for the owner's eyes only.

    Raises
    ------
    StartupError
        It cannot be made or written, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        # Flask reads a relative path from the place of the app's package.
        self.path = path = path.absolute()
        self.spool = path / "spool"
        self.models = path / "models"
        try:
            for folder in (path, self.spool, self.models):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartupError(
                f"the state directory {path} cannot be used: {error.strerror}; choose another with --state-dir"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartupError(
                f"the state directory {path} is in use by another process; an aggregator is one process: "
                "stop the other one, or give this one a --state-dir of its own"
            ) from None
        self._trouble: str | None = None

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def clear_spool(self) -> None:
        """Delete what an earlier process left behind unfinished; nothing there was promised to anyone."""
        for path in self.spool.iterdir():
            path.unlink()

    def new_spool_file(self) -> Path:
        """Return a path in the spool that no request can choose."""
        return self.spool / secrets.token_hex(16)

    def refuse(self, error: OSError) -> Unavailable:
        """Remember that a write failed, and return the answer to whoever sent it."""
        self._trouble = _sentence(error)
        return Unavailable(self._trouble, retry_after=5)

    def unready(self) -> str | None:
        """Return why nothing can be written, trying anew after a write failed; None when all is well."""
        if self._trouble is None:
            return None
        probe = self.new_spool_file()
        try:
            probe.write_bytes(bytes(_PROBE_BYTES))
        except OSError as error:
            self._trouble = _sentence(error)
        else:
            self._trouble = None
        finally:
            probe.unlink(missing_ok=True)
        return self._trouble


def _sentence(error: OSError) -> str:
    if error.errno in _FULL:
        return "the disk of the state directory is full"
    return f"the state directory cannot be written: {error.strerror}"


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
