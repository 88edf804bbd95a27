"""The cluster itself: takes objects, has their pods run as `Control` decides, and lets tests look and do harm."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tests.infra.containers.podman import Podman
from tests.infra.kubernetes.cluster.actions import (
    Action,
    EndPod,
    KillContainer,
    MakePod,
    RemoveClaim,
    RunContainer,
)
from tests.infra.kubernetes.cluster.control import Control
from tests.infra.kubernetes.cluster.jobs import JobProgress
from tests.infra.kubernetes.cluster.kubelet import Kubelet
from tests.infra.kubernetes.cluster.network import Network
from tests.infra.kubernetes.cluster.node import Node
from tests.infra.kubernetes.cluster.objects import Objects
from tests.infra.kubernetes.cluster.pod_spec import Container
from tests.infra.kubernetes.cluster.pod_state import PodState
from tests.infra.kubernetes.cluster.pods import Pod
from tests.infra.kubernetes.cluster.probes import ProbeKey, probe_target

_Found = TypeVar("_Found")
_BEFORE_AGAIN = 1.0
"""Seconds before a container is started again; a real kubelet doubles them from ten on."""
_MOST_RESTARTS = 20
"""Nobody waits for a pod whose containers were started again so often."""
_MOST_AT_ONCE = 100
_LOOK_AGAIN = 0.2
_TAIL = 3000
_NEVER_RUN = 137


class Cluster:
    """Pods of real manifests in podman, as long as the context lasts.

    Parameters
    ----------
    podman : Podman
        With the images that the manifests name.
    logs : Path
        The folder where each container's output is written.

    Examples
    --------
    >>> with Podman(tmp_path, images) as podman, Cluster(podman, tmp_path) as cluster:  # doctest: +SKIP
    ...     cluster.apply(yaml.safe_load_all(manifests))
    ...     cluster.wait_for("a master that is ready", lambda: cluster.ready("master-aggregator"))
    """

    def __init__(self, podman: Podman, logs: Path) -> None:
        self._podman = podman
        self._control = Control(iter(lambda: secrets.token_hex(3), ""))
        self._network = Network(podman)
        self._node = Node(podman.network, self._probed)
        self._kubelet = Kubelet(podman, self._network, logs)
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._failure: BaseException | None = None
        self._stack = contextlib.ExitStack()
        # Pods are made one after the other: podman makes the image of the first one's network then.
        self._maker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maker")
        self._runner = ThreadPoolExecutor(max_workers=_MOST_AT_ONCE, thread_name_prefix="runner")

    def __enter__(self) -> Cluster:
        with contextlib.ExitStack() as stack:
            self._network.start()
            stack.enter_context(self._node)
            stack.callback(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.described())
        self._stack.close()

    def apply(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Take objects, and start making the pods of those that have any."""
        objects = Objects.of(documents)
        self._network.give_addresses(objects)
        self._happened(lambda: self._control.apply(objects))

    def remove(self, *removed: tuple[str, str]) -> None:
        """Forget objects, each by kind and name; pods of workloads among them end in good order."""
        self._happened(lambda: self._control.remove(removed))

    def delete_pod(self, name: str) -> None:
        """End a pod in good order, as a node that is drained does; it is replaced."""
        self._happened(lambda: self._control.delete(name))

    def pods(self, owner: str) -> list[PodState]:
        """Return the pods of a workload, those that are over too."""
        with self._changed:
            return self._control.pods_of(owner)

    def all_pods(self) -> list[PodState]:
        """Return all pods there are."""
        with self._changed:
            return list(self._control.pods.values())

    def claims(self) -> list[str]:
        """Return the claims that hold something."""
        return self._kubelet.claims()

    def ready(self, owner: str) -> list[PodState]:
        """Return the pods of a workload, if there are any and all of them are ready."""
        pods = self.pods(owner)
        return pods if all(pod.is_ready for pod in pods) else []

    def job(self, name: str) -> JobProgress:
        """Return how a Job goes."""
        with self._changed:
            return self._control.job(name)

    def signal(self, pod: str, container: str, name: str) -> None:
        """Send the first process of a container a signal."""
        self._podman.run("kill", "--signal", name, f"{pod}.{container}")

    def exec(self, pod: str, container: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container, and return what came of it."""
        return self._podman.exec(f"{pod}.{container}", *words, check=False)

    def log(self, pod: str, container: str) -> str:
        """Return what a container printed, in all its runs."""
        return self._kubelet.log(pod, container).read_text(errors="replace")

    def volumes_over_limit(self) -> list[str]:
        """Return the volumes that have more in them than they may: the real kubelet would evict their pods."""
        return self._kubelet.over_limit()

    def wait_for(self, what: str, look: Callable[[], _Found]) -> _Found:
        """Return what `look` does as soon as there is anything to see.

        Nothing happens to the cluster while it looks, so that it must wait for nothing else.

        Raises
        ------
        AssertionError
            It will not come to that: something could not be done, or a container ends again and again.
        """
        with self._changed:
            while not (found := look()):
                if self._failure is not None:
                    raise AssertionError(f"no {what}: {self._failure}") from self._failure
                if hopeless := [pod for pod in self._control.pods.values() if pod.restarts > _MOST_RESTARTS]:
                    raise AssertionError(f"no {what}: containers of {hopeless[0].pod.name} end again and again")
                # What containers print is no event.
                self._changed.wait(_LOOK_AGAIN)
        return found

    def described(self) -> str:
        """Return how all pods are, and the end of what their containers printed."""
        lines = []
        with self._changed:
            states = list(self._control.pods.values())
        for state in states:
            lines.append(
                f"{state.pod.name} {state.phase}{' ready' if state.is_ready else ''}, running {sorted(state.running)}, "
                f"ended {state.statuses}, started again {state.restarts} times"
            )
            for container in (*state.pod.spec.init_containers, *state.pod.spec.containers):
                log = self._kubelet.log(state.pod.name, container.name)
                if log.exists():
                    lines.append(f"-- {log.name}\n{log.read_text(errors='replace')[-_TAIL:]}")
        return "\n".join(lines)

    def _happened(self, event: Callable[[], Iterable[Action]]) -> None:
        """Let control decide what comes of an event, and have it done."""
        with self._changed:
            actions = [] if self._closing.is_set() else event()
            self._show()
            for action in actions:
                pool = self._maker if isinstance(action, MakePod) else self._runner
                pool.submit(self._do, action)
            self._changed.notify_all()

    def _do(self, action: Action) -> None:
        try:
            match action:
                case MakePod(pod):
                    self._kubelet.make(pod, self._control.objects)
                    self._happened(lambda: self._control.made(pod.name))
                case RunContainer(pod, container, again):
                    self._closing.wait(_BEFORE_AGAIN if again else 0.0)
                    self._run(pod, container)
                case KillContainer(pod, container):
                    # It may have ended by itself meanwhile.
                    self._podman.run("kill", f"{pod.name}.{container.name}", check=False)
                case EndPod(pod):
                    self._kubelet.end(pod, self._closing)
                    self._happened(lambda: self._control.removed(pod.name))
                case RemoveClaim(name):
                    self._kubelet.remove_claim(name)
        except Exception as error:
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()

    def _run(self, pod: Pod, container: Container) -> None:
        if not self._kubelet.has_image(container):
            self._happened(lambda: self._control.not_pulled(pod.name, container.name))
            return
        with self._changed:
            state, objects = self._control.pods.get(pod.name), self._control.objects
            is_wanted = state is not None and not state.is_ending
        if is_wanted:
            self._happened(lambda: self._control.starts(pod.name, container.name))
        # What a pod refers to may be removed as soon as it is ending.
        status = self._kubelet.run(pod, container, objects) if is_wanted else _NEVER_RUN
        self._happened(lambda: self._control.ended(pod.name, container.name, status))

    def _show(self) -> None:
        """Tell the node of all Services and probes as they are now."""
        made = self._network.addresses
        endpoints = {
            name: [pod for pod in pods if pod.name in made] for name, pods in self._control.endpoints().items()
        }
        probes = {
            probed.key: probe_target(probed.container, probed.probe, made[probed.pod.name])
            for probed in self._control.probes()
        }
        self._node.show(self._network.routes(self._control.objects, endpoints), probes)

    def _probed(self, key: ProbeKey, succeeds: bool) -> None:
        self._happened(lambda: self._control.probed(key, succeeds=succeeds))

    def _close(self) -> None:
        """End everything at once."""
        with self._changed:
            self._closing.set()
        self._maker.shutdown(cancel_futures=True)
        self._podman.run("pod", "rm", "--force", "--all", "--time", "0")
        self._runner.shutdown()
