"""An API of Kubernetes that runs nothing: it keeps objects, and its pods are as a test says."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from kubernetes.client import ApiClient, Configuration
from kubernetes.config import load_kube_config

from infra.kubeflow.steps.namespace import Namespace
from tests.infra.kubeflow.addressing import Request
from tests.infra.kubeflow.api_server import Refused
from tests.infra.kubeflow.rights import Rights
from tests.infra.kubeflow.serving import listening
from tests.infra.programs import CHECKOUT

NAMESPACE: Final = "team-a"
RBAC: Final = CHECKOUT / "infra" / "kubeflow" / "rbac.yaml"
RUNNING: Final[Mapping[str, Any]] = {
    "phase": "Running",
    "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
    "containerStatuses": [{"name": "server", "ready": True, "restartCount": 0, "state": {"running": {}}}],
}
"""How a pod is that is ready."""

Document = dict[str, Any]
_WORKLOADS: Final = ("deployments", "jobs")


@dataclass
class Script:
    """What there is, and how it goes on.

    Parameters
    ----------
    rights : Rights
        Of whoever asks.
    status_of : callable
        Takes the labels of a pod, and returns how it is.
    looks_until_gone : int
        How often a pod that is to end is still seen.
    """

    rights: Rights = field(default_factory=lambda: Rights.read(RBAC))
    status_of: Callable[[Mapping[str, str]], Mapping[str, Any]] = lambda _: RUNNING
    looks_until_gone: int = 1
    conditions: list[Document] = field(default_factory=list)
    """Of every Deployment."""

    logs: dict[str, str] = field(default_factory=dict)
    """What the containers of a pod printed, by the pod's name."""

    refusals: list[Refused] = field(default_factory=list)
    """How the next calls are answered, before anything is done."""

    lost_answers: int = 0
    """How many of the next calls are done, and answered with a failure."""

    held: dict[tuple[str, str], Document] = field(default_factory=dict)
    """Objects by resource and name."""

    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Verb, group and resource of every call, in order."""

    policies: dict[tuple[str, str], str] = field(default_factory=dict)
    """What was to become of what a deleted object had made."""

    _seen: Counter[str] = field(default_factory=Counter)

    def answer(self, request: Request, body: Mapping[str, Any]) -> Document | str:
        """Do what is asked for.

        Raises
        ------
        Refused
        """
        self.asked.append((request.verb, request.group, request.what))
        if request.namespace != NAMESPACE or not self.rights.allow(request.verb, request.group, request.what):
            message = f'{request.what} is forbidden: User "runner" cannot {request.verb} resource "{request.resource}"'
            raise Refused(HTTPStatus.FORBIDDEN, "Forbidden", message)
        if self.refusals:
            raise self.refusals.pop(0)
        found = self._done(request, body)
        if self.lost_answers:
            self.lost_answers -= 1
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable", "apiserver is shutting down")
        return found

    @property
    def left(self) -> list[str]:
        """All objects that there are."""
        return sorted(f"{resource}/{name}" for resource, name in self.held)

    def _done(self, request: Request, body: Mapping[str, Any]) -> Document | str:
        key = (request.resource, request.name)
        if request.verb == "create":
            return self._create(request.resource, dict(body))
        if request.verb == "list":
            if request.resource == "pods":
                self._let_end()
            chosen = [one for (kind, _), one in self.held.items() if kind == request.resource]
            return {"items": [one for one in chosen if request.chooses(one["metadata"].get("labels", {}))]}
        if key not in self.held:
            raise Refused(HTTPStatus.NOT_FOUND, "NotFound", f'{request.resource} "{request.name}" not found')
        if request.part == "log":
            return self.logs.get(request.name, "")
        if request.verb == "delete":
            self._delete(key, body)
            return {"kind": "Status"}
        return self.held[key]

    def _create(self, resource: str, one: Document) -> Document:
        name = one["metadata"]["name"]
        if (resource, name) in self.held:
            raise Refused(HTTPStatus.CONFLICT, "AlreadyExists", f'{resource} "{name}" already exists')
        self.held[resource, name] = one
        if resource in _WORKLOADS:
            one["status"] = {"conditions": self.conditions}
            labels = one["spec"]["template"]["metadata"]["labels"]
            for number in range(one["spec"].get("replicas", 1)):
                status = self.status_of(labels)
                if status:
                    pod = {"metadata": {"name": f"{name}-{number}", "labels": labels}, "status": status, "of": name}
                    self.held["pods", f"{name}-{number}"] = pod
        return one

    def _delete(self, key: tuple[str, str], body: Mapping[str, Any]) -> None:
        self.policies[key] = body.get("propagationPolicy", "")
        del self.held[key]
        if key[0] in _WORKLOADS:
            for pod in self.held.values():
                if pod.get("of") == key[1]:
                    pod["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z"

    def _let_end(self) -> None:
        for resource, name in list(self.held):
            if resource == "pods" and "deletionTimestamp" in self.held[resource, name]["metadata"]:
                self._seen[name] += 1
                if self._seen[name] > self.looks_until_gone:
                    del self.held[resource, name]


@contextlib.contextmanager
def asked_of(script: Script, folder: Path, *, tries: int = 3) -> Iterator[Namespace]:
    """Serve a script while the block runs, and give a namespace of it, asked by the official client over HTTP."""
    path = folder / "kubeconfig"
    with listening(script, contextlib.nullcontext(), path, NAMESPACE):
        configuration = Configuration()
        load_kube_config(str(path), client_configuration=configuration)
        with ApiClient(configuration) as client:
            yield Namespace(client, NAMESPACE, tries=tries)
