"""How a pod is: its phase, what of it runs, and what has ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from tests.infra.kubernetes.cluster.pod_spec import Container
from tests.infra.kubernetes.cluster.pods import Pod

Phase = Literal["Pending", "Running", "Succeeded", "Failed"]


@dataclass(slots=True)
class PodState:
    """How a pod is."""

    pod: Pod
    phase: Phase = "Pending"
    running: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    probed_ready: set[str] = field(default_factory=set)
    statuses: dict[str, int] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, str] = field(default_factory=dict)
    """Why containers cannot be started, by container."""

    is_made: bool = False
    is_ending: bool = False
    is_removed: bool = False

    @property
    def restarts(self) -> int:
        """How often a container of it was started again."""
        return sum(self.runs.values()) - len(self.runs)

    def has_started(self, container: Container) -> bool:
        """Return whether a container runs, and its startup probe has succeeded, if it has one."""
        runs = container.name in self.running and container.name not in self.waiting
        return runs and (container.startup_probe is None or container.name in self.started)

    @property
    def outcome(self) -> Phase:
        """What comes of it if nothing of it runs any more, nor will."""
        succeeded = all(self.statuses.get(one.name) == 0 for one in self.pod.spec.containers)
        return "Succeeded" if succeeded else "Failed"

    @property
    def is_ready(self) -> bool:
        """Whether Services may send to it."""
        return (
            self.phase == "Running"
            and not self.is_ending
            and all(
                self.has_started(one) and (one.readiness_probe is None or one.name in self.probed_ready)
                for one in self.pod.spec.containers
            )
        )
