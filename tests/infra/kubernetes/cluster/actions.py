"""What a cluster's control decides: what is to be done for pods, and what is to be asked of them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.infra.kubernetes.cluster.pod_spec import Container, Probe
from tests.infra.kubernetes.cluster.pods import Pod
from tests.infra.kubernetes.cluster.probes import Kind, ProbeKey


@dataclass(frozen=True, slots=True)
class MakePod:
    """Make a pod: its network and volumes."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class RunContainer:
    """Run a container of a pod; `again` where it ran before, which is not to be at once."""

    pod: Pod
    container: Container
    again: bool = False


@dataclass(frozen=True, slots=True)
class KillContainer:
    """End a container that does not answer; what ends runs again as its pod's restart policy says."""

    pod: Pod
    container: Container


@dataclass(frozen=True, slots=True)
class EndPod:
    """End a pod in good order, and remove it."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe of a run of a container; a container that is started again has others."""

    pod: Pod
    container: Container
    run: int
    kind: Kind
    probe: Probe

    @property
    def key(self) -> ProbeKey:
        """What tells it from all others."""
        return self.pod.name, self.container.name, self.run, self.kind


@dataclass(frozen=True, slots=True)
class RemoveClaim:
    """Remove what a claim holds: it was removed, and no pod has it any more."""

    name: str


Action = MakePod | RunContainer | KillContainer | EndPod | RemoveClaim
