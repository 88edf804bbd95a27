"""What the kernel has counted of a process so far."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.system.costs.syncs import read_syncs


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process has spent; the difference of two is what it spent in between.

    Parameters
    ----------
    bytes_read, bytes_written : int
        To and from files, also by `sendfile`; of sockets only what `sendfile` sends. A mapped file counts for neither.
    reads, writes : int
        Calls that did so.
    faults : int
        Pages that were mapped anew without the disk: fresh buffers, and files that are looked at where they are mapped.
    syncs : int
        Times that the disk was to confirm what was written.
    """

    bytes_read: int
    bytes_written: int
    reads: int
    writes: int
    faults: int
    syncs: int

    def __add__(self, other: Self) -> Spent:
        return Spent(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Self) -> Spent:
        return Spent(*(mine - theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def spent_by(pid: int, syncs: Path) -> Spent:
    """Return what a process has spent since it started.

    Parameters
    ----------
    pid : int
    syncs : Path
        Where it counts its syncs.
    """
    process = Path(f"/proc/{pid}")
    if not (process / "io").exists():
        pytest.skip("this kernel does not count the bytes that a process reads and writes")
    counted = dict(line.split(": ") for line in (process / "io").read_text().splitlines())
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return Spent(
        bytes_read=int(counted["rchar"]),
        bytes_written=int(counted["wchar"]),
        reads=int(counted["syscr"]),
        writes=int(counted["syscw"]),
        faults=int(fields[7]),
        syncs=read_syncs(syncs),
    )
