"""What the controllers and the kubelet of a cluster decide: events in, actions out.

It knows no podman, no clock and no network. A pod is made, its init containers run one after the other, then all others
at once; what ends is started again, or ends its pod, as the pod's restart policy says; a Job's pod that failed is made
anew. What nobody is told by an action can be asked: which pods a Service has that are ready, what is to be probed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from tests.infra.kubernetes.cluster.actions import (
    Action,
    EndPod,
    KillContainer,
    MakePod,
    Probed,
    RemoveClaim,
    RunContainer,
)
from tests.infra.kubernetes.cluster.jobs import DISRUPTION, JobProgress
from tests.infra.kubernetes.cluster.objects import Claim, Deployment, Job, Objects, Service, StatefulSet
from tests.infra.kubernetes.cluster.pod_spec import Container, Probe
from tests.infra.kubernetes.cluster.pod_state import Phase, PodState
from tests.infra.kubernetes.cluster.pods import Pod, deployed_pods, job_pod, stateful_pods
from tests.infra.kubernetes.cluster.probes import Kind, ProbeKey


class Control:
    """The state of all that was applied.

    Parameters
    ----------
    endings : Iterator of str
        What the names of pods end with that have no number.
    """

    def __init__(self, endings: Iterator[str]) -> None:
        self._endings = endings
        self._jobs: dict[str, JobProgress] = {}
        self._claims: set[str] = set()
        self.objects = Objects({})
        self.pods: dict[str, PodState] = {}

    def apply(self, objects: Objects) -> list[Action]:
        """Take more objects; workloads among them get their pods, others are there for the pods of later ones."""
        self.objects = Objects({**self.objects.held, **objects.held})
        actions: list[Action] = []
        for stateful in objects.all(StatefulSet):
            actions += self._made(stateful_pods(stateful))
        for deployment in objects.all(Deployment):
            count = self.objects.replicas(deployment)
            actions += self._made(deployed_pods(deployment, tuple(next(self._endings) for _ in range(count))))
        for job in objects.all(Job):
            self._jobs[job.metadata.name] = JobProgress(job.spec)
            actions += self._next_of(job.metadata.name)
        self._claims |= {claim.metadata.name for claim in objects.all(Claim)}
        return actions

    def remove(self, removed: Collection[tuple[str, str]]) -> list[Action]:
        """Forget objects, each by kind and name; pods of workloads among them end, and no others take their place."""
        self.objects = Objects({key: one for key, one in self.objects.held.items() if key not in removed})
        workloads = {name for kind, name in removed if kind in {"Deployment", "Job", "StatefulSet"}}
        ending = [one.pod.name for one in self.pods.values() if one.pod.owner in workloads and not one.is_ending]
        return [*self._released(), *(action for name in ending for action in self.delete(name))]

    def made(self, name: str) -> list[Action]:
        """Go on after a pod was made."""
        state = self.pods[name]
        state.is_made = True
        return [EndPod(state.pod)] if state.is_ending else self._prepared(state)

    def ended(self, name: str, container: str, status: int) -> list[Action]:
        """Go on after a container ended."""
        state = self.pods.get(name)
        if state is None:
            return []
        for names in (state.running, state.started, state.probed_ready):
            names.discard(container)
        state.statuses[container] = status
        if state.is_ending:
            return self._gone(state)
        spec = state.pod.spec
        if any(one.name == container for one in spec.init_containers):
            if status == 0:
                return self._prepared(state)
            return self._over(state, "Failed") if spec.restart_policy == "Never" else self._again(state, container)
        if spec.restart_policy == "Always" or (spec.restart_policy == "OnFailure" and status != 0):
            return self._again(state, container)
        return [] if state.running else self._over(state, state.outcome)

    def starts(self, name: str, container: str) -> list[Action]:
        """Go on when a container that ran before is started again."""
        if name in self.pods:
            self.pods[name].waiting.pop(container, None)
        return []

    def not_pulled(self, name: str, container: str) -> list[Action]:
        """Go on after it was found that there is no image for a container: its pod waits for it."""
        state = self.pods[name]
        state.running.discard(container)
        state.waiting[container] = "ImagePullBackOff"
        return self._gone(state) if state.is_ending else []

    def probed(self, key: ProbeKey, *, succeeds: bool) -> list[Action]:
        """Go on after a probe succeeded or failed; what it found of an earlier run does not count."""
        pod, name, run, kind = key
        state = self.pods.get(pod)
        if state is None or name not in state.running or state.runs[name] != run:
            return []
        if kind != "readiness" and not succeeds:
            return [KillContainer(state.pod, state.pod.container(name))]
        if kind == "startup":
            state.started.add(name)
        elif kind == "readiness":
            (state.probed_ready.add if succeeds else state.probed_ready.discard)(name)
        return []

    def delete(self, name: str) -> list[Action]:
        """End one pod, as a node that is drained does: its workload makes another."""
        state = self.pods[name]
        state.is_ending = True
        return [EndPod(state.pod)] if state.is_made else []

    def removed(self, name: str) -> list[Action]:
        """Go on after a pod was removed."""
        state = self.pods[name]
        state.is_removed = True
        return self._gone(state)

    def job(self, name: str) -> JobProgress:
        """Return how a Job goes."""
        return self._jobs[name]

    def pods_of(self, owner: str) -> list[PodState]:
        """Return the pods of a workload, those that are over too."""
        return [state for state in self.pods.values() if state.pod.owner == owner]

    def endpoints(self) -> dict[str, list[Pod]]:
        """Return which pods each Service may send to."""
        return {
            service.metadata.name: [
                state.pod
                for state in self.pods.values()
                if _matches(service.spec.selector, state.pod.labels)
                and (state.is_ready or (service.spec.publish_not_ready_addresses and state.phase == "Running"))
            ]
            for service in self.objects.all(Service)
        }

    def probes(self) -> list[Probed]:
        """Return what is to be probed: whether containers have started, and then whether they live and are ready."""
        return [
            Probed(state.pod, one, state.runs[one.name], kind, probe)
            for state in self.pods.values()
            if not state.is_ending
            for one in state.pod.spec.containers
            if one.name in state.running
            for kind, probe in _probes(one, has_started=state.has_started(one))
        ]

    def _made(self, pods: Iterable[Pod]) -> list[Action]:
        made = list(pods)
        self.pods |= {pod.name: PodState(pod) for pod in made}
        return [MakePod(pod) for pod in made]

    def _prepared(self, state: PodState) -> list[Action]:
        """Run the init container that is next, or all others."""
        spec = state.pod.spec
        for one in spec.init_containers:
            if state.statuses.get(one.name) != 0:
                return self._run(state, [one])
        state.phase = "Running"
        return self._run(state, spec.containers)

    def _run(self, state: PodState, containers: Iterable[Container], *, again: bool = False) -> list[Action]:
        chosen = list(containers)
        state.running |= {one.name for one in chosen}
        state.runs.update(one.name for one in chosen)
        return [RunContainer(state.pod, one, again) for one in chosen]

    def _again(self, state: PodState, container: str) -> list[Action]:
        state.waiting[container] = "CrashLoopBackOff"
        return self._run(state, [state.pod.container(container)], again=True)

    def _over(self, state: PodState, phase: Phase, conditions: frozenset[str] = frozenset()) -> list[Action]:
        state.phase = phase
        pod = state.pod
        if pod.index is None:
            return []
        if phase == "Succeeded":
            self._jobs[pod.owner].pod_succeeded(pod.index)
        else:
            self._jobs[pod.owner].pod_failed(pod.index, state.statuses, conditions)
        return self._next_of(pod.owner)

    def _gone(self, state: PodState) -> list[Action]:
        """Replace a pod that was removed, when it is known how its containers ended."""
        if not state.is_removed or state.running:
            return []
        pod = self.pods.pop(state.pod.name).pod
        return [*self._released(), *self._replaced(state, pod)]

    def _replaced(self, state: PodState, pod: Pod) -> list[Action]:
        if pod.index is not None:
            # One whose containers all ended well has done its work, even if that was because it was told to end.
            is_over = state.phase in {"Succeeded", "Failed"}
            return [] if is_over else self._over(state, state.outcome, frozenset({DISRUPTION}))
        if stateful := self.objects.get(StatefulSet, pod.owner):
            return self._made([one for one in stateful_pods(stateful) if one.name == pod.name])
        if deployment := self.objects.get(Deployment, pod.owner):
            return self._made(deployed_pods(deployment, (next(self._endings),)))
        return []

    def _released(self) -> list[Action]:
        """Let go of claims that were removed and that no pod has any more."""
        kept = {claim.metadata.name for claim in self.objects.all(Claim)}
        kept |= {name for state in self.pods.values() for name in state.pod.spec.claims}
        gone = sorted(self._claims - kept)
        self._claims -= set(gone)
        return [RemoveClaim(name) for name in gone]

    def _next_of(self, name: str) -> list[Action]:
        job = self.objects.get(Job, name)
        if job is None:
            return []
        return self._made(job_pod(job, index, next(self._endings)) for index in self._jobs[name].start())


def _probes(container: Container, *, has_started: bool) -> Iterator[tuple[Kind, Probe]]:
    if not has_started and container.startup_probe is not None:
        yield "startup", container.startup_probe
        return
    if container.liveness_probe is not None:
        yield "liveness", container.liveness_probe
    if container.readiness_probe is not None:
        yield "readiness", container.readiness_probe


def _matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())
