"""What whole process trees use, seen from outside: memory as PSS and as VmHWM, by /proc, and CPU seconds.

PSS (proportional set size) counts a page that several processes share in parts, so it can be added up; it
counts the mapped part of files. VmHWM is the largest resident set that one process ever had. Linux only.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

_PSS = re.compile(rb"^Pss:\s+(\d+) kB$", re.MULTILINE)
_HIGH_WATER = re.compile(rb"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")
_SCHEDULER_CLOCK = 2  # CPUCLOCK_SCHED of linux/posix-timers.h: user and system time of all threads, in nanoseconds
_SAMPLE_SECONDS = 0.05
SELDOM, OFTEN = 0.02, 1.0
"""Shares of a core that looking at memory may take: so that a round hardly feels it, and as often as can be."""


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it, as far as they live."""
    found, unseen = [], [pid]
    while unseen:
        parent = unseen.pop()
        found.append(parent)
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                unseen += map(int, _read(f"/proc/{parent}/task/{thread}/children").split())
    return found


def pss_bytes(pid: int) -> int:
    """Return the proportional set size of one process; 0 where it has ended."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", _PSS)


def high_water_bytes(pids: Sequence[int]) -> int:
    """Return the sum of the largest resident sets that the processes of some trees ever had."""
    return sum(_kilobytes(f"/proc/{pid}/status", _HIGH_WATER) for root in pids for pid in tree(root))


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU seconds of some process trees, those of children that have ended included.

    Those of a process that lives are read from its CPU clock, for `/proc/PID/stat` tells whole hundredths of a second
    only, and a small round takes less of some tiers. A child that has ended counts in such hundredths once it was
    waited for, so that up to two are lost in that moment.
    """
    return sum(_clock(pid) + _ended_children(pid) for root in pids for pid in tree(root))


class Watched:
    """Samples the PSS of process trees, in a thread, while its `with` block runs.

    A sample takes the longer, the more memory is mapped; samples are taken so seldom that they use this share of a
    core at most, and every 50 ms at most.

    Parameters
    ----------
    tiers : Mapping of str to sequence of int
        The first process of each tree, by tier.
    share_of_a_core : float
        From 0, exclusive, to 1.
    """

    def __init__(self, tiers: Mapping[str, Sequence[int]], share_of_a_core: float = SELDOM) -> None:
        self._tiers = tiers
        self._share = share_of_a_core
        self._samples: list[dict[str, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watched", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def peak(self, *tiers: str) -> int:
        """Return the largest PSS that some tiers had together at one moment, in bytes."""
        return max((sum(sample[tier] for tier in tiers) for sample in list(self._samples)), default=0)

    @property
    def samples(self) -> int:
        """How many were taken."""
        return len(self._samples)

    def _watch(self) -> None:
        while True:
            started = time.thread_time()
            self._samples.append({tier: _tier_bytes(pids) for tier, pids in self._tiers.items()})
            cost = time.thread_time() - started
            if self._ended.wait(max(_SAMPLE_SECONDS, cost / self._share) - cost):
                return


def _tier_bytes(pids: Sequence[int]) -> int:
    return sum(pss_bytes(pid) for root in pids for pid in tree(root))


def _clock(pid: int) -> float:
    try:
        return time.clock_gettime((~pid << 3) | _SCHEDULER_CLOCK)  # what clock_getcpuclockid(3) makes of a pid
    except OSError as error:
        if error.errno != errno.EINVAL:  # which says that there is no such process
            raise
        return 0.0


def _ended_children(pid: int) -> float:
    try:
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[13:15])) / _TICKS  # cutime and cstime


def _kilobytes(path: str, line: re.Pattern[bytes]) -> int:
    try:
        found = line.search(_read(path))
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def _read(path: str) -> bytes:
    return Path(path).read_bytes()
