"""What a node does for its pods: makes, runs and ends them by podman, one call at a time."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.infra.containers.podman import Podman
from tests.infra.kubernetes.cluster.containers import Surroundings, container_words, pod_words
from tests.infra.kubernetes.cluster.network import Network
from tests.infra.kubernetes.cluster.objects import Objects
from tests.infra.kubernetes.cluster.pod_spec import Container
from tests.infra.kubernetes.cluster.pods import Pod
from tests.infra.kubernetes.cluster.variables import environment, service_links
from tests.infra.kubernetes.cluster.volumes import VolumePlan, bytes_in, make_volume, mount_words, volume_plans

_KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod's files lie."""

    folder: Path
    volumes: tuple[VolumePlan, ...]
    surroundings: Surroundings


class Kubelet:
    """Runs pods.

    Parameters
    ----------
    podman : Podman
    network : Network
    logs : Path
        The folder where each container's output is written.
    """

    def __init__(self, podman: Podman, network: Network, logs: Path) -> None:
        self._podman = podman
        self._network = network
        self._logs = logs
        self._folder = podman.folder / "cluster"
        self._places: dict[str, Place] = {}

    def make(self, pod: Pod, objects: Objects) -> None:
        """Make a pod's volumes and its network."""
        folder = self._folder / "pods" / pod.name
        folder.mkdir(parents=True)
        group = pod.spec.security_context.fs_group
        plans = volume_plans(pod, objects, folder / "volumes", self._folder / "claims")
        for plan in plans:
            make_volume(plan, group)
            if plan.in_memory is not None:
                self._inside(*mount_words(plan, group))
        surroundings = Surroundings(
            folders={plan.name: plan.folder for plan in plans},
            unchangeable=frozenset(plan.name for plan in plans if plan.is_projected),
            hosts=self._network.hosts,
            resolver=self._network.resolver,
        )
        self._places[pod.name] = Place(folder, tuple(plans), surroundings)
        self._podman.run(*pod_words(pod))
        self._network.attach(pod)

    def run(self, pod: Pod, container: Container, objects: Objects) -> int:
        """Run a container until it ends, and return its status; in a pod that was ended meanwhile it is not run."""
        place = self._places.get(pod.name)
        if place is None:
            return _KILLED
        links = dict(service_links(dict(self._network.links(objects))))
        variables = environment(pod, container, objects, links)
        words = container_words(pod, container, variables, place.surroundings)
        with (
            self.log(pod.name, container.name).open("ab") as log,
            self._podman.start(*words, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process,
        ):
            return process.wait()

    def has_image(self, container: Container) -> bool:
        """Return whether a container's image is there; none is pulled."""
        return self._podman.run("image", "exists", container.image, check=False).returncode == 0

    def claims(self) -> list[str]:
        """Return the claims that hold something."""
        return [path.name for path in (self._folder / "claims").glob("*")]

    def remove_claim(self, name: str) -> None:
        """Remove what a claim holds."""
        shutil.rmtree(self._folder / "claims" / name, ignore_errors=True)

    def end(self, pod: Pod, closing: threading.Event) -> None:
        """End a pod in good order and remove what does not outlive it; in none once the cluster is `closing`."""
        pauses = [one.lifecycle.pre_stop.sleep.seconds for one in pod.spec.containers if one.lifecycle is not None]
        closing.wait(max(pauses, default=0))
        grace = max(pod.spec.termination_grace_period_seconds - max(pauses, default=0), 2)
        self._podman.run("pod", "stop", "--time", str(grace), pod.name, timeout=grace + 60.0)
        self._podman.run("pod", "rm", "--force", pod.name)
        place = self._places.pop(pod.name)
        for plan in place.volumes:
            if plan.in_memory is not None:
                self._inside("umount", str(plan.folder))
        shutil.rmtree(place.folder)

    def log(self, pod: str, container: str) -> Path:
        """Return the file of what a container printed, in all its runs."""
        return self._logs / f"{pod}.{container}.log"

    def volume(self, pod: str, name: str) -> Path:
        """Return where a pod's volume lies."""
        return self._places[pod].surroundings.folders[name]

    def over_limit(self) -> list[str]:
        """Return the volumes that have more in them than they may: the real kubelet would evict their pods."""
        return [
            f"{name}/{plan.name}"
            for name, place in list(self._places.items())
            for plan in place.volumes
            if plan.limit is not None and bytes_in(plan.folder) > plan.limit
        ]

    def _inside(self, *words: str) -> None:
        subprocess.run(self._podman.inside(*words), env=self._podman.environment, check=True)
