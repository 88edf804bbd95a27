"""Small disks of a test's own: a file system in memory that is filled to the byte, emptied, and made read-only."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import pytest

from tests.masters import wait_until

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
"""What a file of such a disk takes at least, and in multiples of which it grows."""
_FILLER: Final = "somebody-elses"
_BLOCK: Final = 512
"""Bytes of the blocks in which a file's status is given, see stat(2)."""


class SmallDisk:
    """A file system with little room, mounted while its `with` block runs.

    A test that may not mount one is skipped.

    Parameters
    ----------
    path : Path
        Where it is mounted; made when it is missing.
    size : int
        Bytes, a multiple of `PAGE`.
    inodes : int, optional
        How many files and folders it holds at most; by default many.
    """

    def __init__(self, path: Path, *, size: int = 4 << 20, inodes: int = 10_000) -> None:
        self.path = path
        self._options = f"size={size},nr_inodes={inodes}"
        self._taken: list[Path] = []

    def __enter__(self) -> Self:
        self.path.mkdir(exist_ok=True)
        _mount("-t", "tmpfs", "-o", self._options, "tmpfs", self.path)
        return self

    def __exit__(self, *_: object) -> None:
        # Lazily: nothing that a failed test left running keeps the disk in the tree.
        subprocess.run(["umount", "--lazy", self.path], check=True)

    @property
    def free_bytes(self) -> int:
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize

    def fill(self, *, leaving: int = 0) -> None:
        """Take all space but so many bytes, by a file that belongs to none of the programs.

        What a program has deleted takes its room until the last reader has closed it. That is waited for, as it would
        give back some of the space that was just taken.
        """
        wait_until(self._holds_only_its_files)
        filler = self.path / _FILLER
        with filler.open("ab") as file:
            taking = self.free_bytes - leaving // PAGE * PAGE
            assert taking >= 0, f"only {self.free_bytes} bytes are free"
            file.write(bytes(taking))
        assert self.free_bytes == leaving // PAGE * PAGE

    def _holds_only_its_files(self) -> bool:
        taken: dict[int, int] = {}
        for path in self.path.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                status = path.lstat()
                taken[status.st_ino] = status.st_blocks * _BLOCK
        disk = os.statvfs(self.path)
        return sum(taken.values()) == (disk.f_blocks - disk.f_bfree) * disk.f_frsize

    def use_up_inodes(self, *, leaving: int = 0) -> None:
        """Take all files and folders that the disk can still hold but so many."""
        folder = self.path / f"{_FILLER}-files"
        folder.mkdir(exist_ok=True)
        for number in range(os.statvfs(self.path).f_favail - leaving):
            (folder / str(number)).touch()

    def free(self) -> None:
        """Give back what `fill` and `use_up_inodes` took."""
        (self.path / _FILLER).unlink(missing_ok=True)
        for file in (self.path / f"{_FILLER}-files").glob("*"):
            file.unlink()


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder and all in it read-only for everyone, root included, also for programs that run already."""
    _mount("--bind", folder, folder)
    try:
        _mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def can_be_mounted(folder: Path) -> bool:
    """Return whether this user may mount a small disk below a folder."""
    try:
        with SmallDisk(folder / "trial"):
            return True
    except pytest.skip.Exception:
        return False


def _mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[0]
        pytest.skip(f"no small disk can be mounted here: {reason}")
