"""What becomes of a local run's tasks, read from what KFP's runner logs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_STARTED: Final = re.compile(r"Executing task '(?P<task>[a-z0-9-]+)'")
_ENDED: Final = re.compile(r"Task '(?P<task>[a-z0-9-]+)' finished with status (?P<status>SUCCESS|FAILURE)")


@dataclass(slots=True)
class Task:
    """How often a task was started, and ended in which way.

    Parameters
    ----------
    started, succeeded, failed : int
        Of a task in a loop, of all its turns.
    """

    started: int = 0
    succeeded: int = 0
    failed: int = 0

    @property
    def state(self) -> str:
        """How KFP calls it."""
        if self.started > self.succeeded + self.failed:
            return "RUNNING"
        return "SUCCEEDED" if self.succeeded else "FAILED"


@dataclass(slots=True)
class Tasks:
    """All tasks of a run, in the order in which they started."""

    by_name: dict[str, Task] = field(default_factory=dict)

    def read(self, lines: Iterable[str]) -> None:
        """Take note of what further lines say."""
        for line in lines:
            plain = _COLOUR.sub("", line)
            if found := _STARTED.search(plain):
                self.by_name.setdefault(found["task"], Task()).started += 1
            elif found := _ENDED.search(plain):
                task = self.by_name.setdefault(found["task"], Task())
                if found["status"] == "SUCCESS":
                    task.succeeded += 1
                else:
                    task.failed += 1
