"""What the kernel still has of something that a test ended: mounts, control groups, processes."""

from __future__ import annotations

import os
from pathlib import Path


def mounts_below(folder: Path) -> list[Path]:
    """Return the lists of mounts, of all processes, in which a folder stands."""
    return [path for path in Path("/proc").glob("[0-9]*/mounts") if str(folder) in _read(path)]


def control_groups_of(folder: Path) -> list[Path]:
    """Return the control groups of containers whose files lay below a folder."""
    own = str(folder.resolve()).replace("/", "-")
    return [path for path in Path("/sys/fs/cgroup").glob("**/fedtier-test-*") if own in path.name]


def children(pid: int) -> list[int]:
    """Return the processes that a process started, in any of its threads; none of one that is gone."""
    tasks = Path(f"/proc/{pid}/task")
    try:
        threads = os.listdir(tasks)
    except OSError:
        return []
    return [int(child) for thread in threads for child in _read(tasks / thread / "children").split()]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process or thread is gone
        return ""
