"""The folder that one aggregator owns: locked, private, with its spool, its spare files and its models."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn

from fedtier.problems import StartupError, Unavailable
from fedtier.serving.quota import SpoolQuota
from fedtier.serving.spares import SpareFiles

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
OUT_OF_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})
_PROBE_BYTES: Final = 1 << 16


class StateDirectory:
    """An aggregator's folder on disk.

    Parameters
    ----------
    path : Path
        Made when missing, for the owner's eyes only.
    die : callable
        Ends the process with a sentence: what the folder held may be lost with it.
    spool_max : int or None
        Bytes that bodies from outside may take in the spool. None is half of the disk, whatever else lies on it: the
        rest is for batches and the journal, without which no body would leave the spool again.

    Raises
    ------
    StartupError
        It cannot be made or written, or another process holds it.
    """

    def __init__(self, path: Path, die: Callable[[str], NoReturn] = sys.exit, *, spool_max: int | None = None) -> None:
        # Flask reads a relative path from the place of the app's package.
        self.path = path = path.absolute()
        self.spool = path / "spool"
        self.models = path / "models"
        spares = path / "spares"
        try:
            for folder in (path, self.spool, self.models, spares):
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
        self._locked = os.fstat(self._lock)
        self._die = die
        self._quota = SpoolQuota(half_of_disk(self.spool) if spool_max is None else spool_max)
        self._spares = SpareFiles(spares)
        self._troubles = threading.Lock()
        self._trouble: str | None = "nothing was written yet"
        self._wanted = _PROBE_BYTES
        self._refused = 0
        self._is_full = False

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def clear_spool(self) -> None:
        """Delete what an earlier process left behind unfinished; nothing there was promised to anyone."""
        for path in self.spool.iterdir():
            path.unlink()
        self._spares.clear()

    @property
    def spool_bytes(self) -> int:
        """Bytes that lie in the spool, or were announced."""
        return self._quota.taken

    def new_spool_file(self) -> Path:
        """Return a path in the spool that no request can choose."""
        return self.spool / secrets.token_hex(16)

    @contextmanager
    def admitted_file(self, size: int) -> Iterator[Path]:
        """Give a path for a body from outside, where a file may lie that is to be written over.

        What lies there is deleted when the block fails.

        Raises
        ------
        Unavailable
            The spool may not take so many bytes more.
        """
        path = self.new_spool_file()
        self._quota.admit(path.name, size)
        with self._deleted_on_failure(path):
            self._put_spare(path, size)
            yield path
        self._note_room_for(size)

    @contextmanager
    def own_file(self, size: int) -> Iterator[Path]:
        """Give a path for a file of the aggregator's own, which counts, but is never refused; see `admitted_file`.

        Parameters
        ----------
        size : int
            Bytes, or an upper bound; what the block wrote is looked at afterwards.
        """
        path = self.new_spool_file()
        self._quota.count(path.name, size)
        with self._deleted_on_failure(path):
            self._put_spare(path, size)
            yield path
            written = path.stat().st_size
            self._quota.count(path.name, written)
        self._note_room_for(written)

    def _note_room_for(self, size: int) -> None:
        """Keep files again once more was written than found no room; nobody may ask whether the server is ready."""
        if size > self._wanted:
            self._is_full = False

    def _put_spare(self, path: Path, size: int) -> None:
        """Have a spare file lie there, if there is one; together with bodies they take what bodies alone may."""
        self._spares.shrink(self._quota.left)
        self._spares.give(path, size)

    @contextmanager
    def _deleted_on_failure(self, path: Path) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.delete(path)
            raise

    def drop(self, path: Path) -> None:
        """Have a file that nobody needs any more be written over later; on a full disk `delete` it."""
        if self._is_full:
            self.delete(path)
            return
        with suppress(OSError):
            self._spares.keep(path)
            self._quota.let_go(path.name)

    def delete(self, path: Path) -> None:
        """Delete a file that nobody needs any more; where the disk refuses that, the next start clears it away."""
        with suppress(OSError):
            path.unlink(missing_ok=True)
            self._quota.let_go(path.name)

    def delete_spares(self) -> None:
        """Keep nothing of what was sent when the server ends; what a killed one leaves, its next start deletes."""
        self._spares.shrink(0)

    def make_room(self, error: OSError) -> bool:
        """Delete the spare files where the disk is full; return whether that may have helped."""
        if error.errno not in _FULL:
            return False
        helped = self._spares.shrink(0)
        if not helped:
            self._is_full = True
        return helped

    def let_go(self, path: Path) -> None:
        """Take note that a file has left the spool."""
        self._quota.let_go(path.name)

    def refuse(self, error: OSError, *, wanted: int = 0) -> Unavailable:
        """Remember that a file could not be used, and return what its sender is told.

        The process ends where the folder is gone.

        Parameters
        ----------
        error : OSError
        wanted : int
            Bytes that were to be written, or an upper bound; where the disk is full, nothing is ready before there is
            room for them.
        """
        self._require_there()
        is_full = error.errno in _FULL
        if is_full:
            self._is_full = True
            self._spares.shrink(0)
        sentence = _sentence(error)
        with self._troubles:
            self._wanted = max(self._wanted, (wanted if is_full else 0) + _PROBE_BYTES)
            self._trouble = sentence
            self._refused += 1
        return Unavailable(sentence, retry_after=5)

    def unready(self) -> str | None:
        """Return why nothing can be written, trying at first and after something failed; None when all is well."""
        self._require_there()
        if self._trouble is not None or self._is_full:
            self._probe()
        return self._trouble

    def _probe(self) -> None:
        """See whether there is room for what found none, and write a little: an upload and its record are two files.

        What fails meanwhile is not made good by it.
        """
        with self._troubles:
            wanted, refused = self._wanted, self._refused
        probes = self.new_spool_file(), self.new_spool_file()
        self._spares.shrink(0)
        try:
            disk = os.statvfs(self.spool)
            if disk.f_bavail * disk.f_frsize < wanted:  # to fill it up again and again would harm others who use it
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            for probe in probes:
                probe.write_bytes(bytes(_PROBE_BYTES // len(probes)))
        except OSError as error:
            self._trouble = _sentence(error)
        else:
            with self._troubles:
                if self._refused == refused:
                    self._trouble, self._wanted, self._is_full = None, _PROBE_BYTES, False
        finally:
            for probe in probes:
                self.drop(probe)

    def _require_there(self) -> None:
        """End the process where somebody removed the folder, or put another in its place."""
        if not self._is_there():
            self._die(
                f"the state directory {self.path} was removed, or something in it, while this process used it; start "
                "it again. A master that finds its journal goes on with it; else it begins a new attempt, and clients "
                "send again"
            )

    def _is_there(self) -> bool:
        try:
            lock = (self.path / "lock").stat()
            folders = [folder.stat() for folder in (self.spool, self.models)]
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # a disk that cannot be read is another trouble
            return True
        return os.path.samestat(lock, self._locked) and all(stat.S_ISDIR(folder.st_mode) for folder in folders)


def half_of_disk(folder: Path) -> int:
    """Return half the size of the file system that a folder lies on, in bytes; the same at every start."""
    disk = os.statvfs(folder)
    return disk.f_blocks * disk.f_frsize // 2


def _sentence(error: OSError) -> str:
    if error.errno in _FULL:
        return "the disk of the state directory is full"
    if error.errno in OUT_OF_FILES:
        return "no file descriptor is left: raise the limit on open files of this process, or of the machine"
    return f"the state directory cannot be used: {error.strerror}"


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
