"""What becomes of a local run's tasks, read from what KFP's runner logs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_EVENT: Final = re.compile(
    r"(?:Executing task '(?P<started>[a-z0-9-]+)'"
    r"|Task '(?P<ended>[a-z0-9-]+)' finished with status (?P<status>SUCCESS|FAILURE))"
)


@dataclass(slots=True)
class Tasks:
    """What was logged of each task, by name, in the order in which they started.

    While two run side by side, the runner does not log all that it starts.
    """

    ends: dict[str, list[str]] = field(default_factory=dict)
    _running: set[str] = field(default_factory=set)

    def read(self, lines: Iterable[str]) -> None:
        """Take note of what further lines say."""
        for line in lines:
            found = _EVENT.search(_COLOUR.sub("", line))
            if found is None:
                continue
            name = found["started"] or found["ended"]
            ends = self.ends.setdefault(name, [])
            if found["started"]:
                self._running.add(name)
            else:
                self._running.discard(name)
                ends.append({"SUCCESS": "SUCCEEDED", "FAILURE": "FAILED"}[found["status"]])

    def states(self) -> dict[str, str]:
        """Return the state of each task, as KFP calls it: how it ended last, if it does not run."""
        return {name: "RUNNING" if name in self._running or not ends else ends[-1] for name, ends in self.ends.items()}
