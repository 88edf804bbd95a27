"""As much of the API of Kubernetes as a pipeline's tasks need, over a cluster that runs what is made.

Objects are kept here and handed to the cluster, and pods are shown as they are there. Whoever asks has the rights of a
Role and no others. Deletion is the real API's: a Job's pods stay unless the call says what becomes of them, what is
deleted in the foreground is there until its pods are gone, and a claim until no pod has it any more.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import ValidationError

from tests.infra.kubeflow.addressing import Request
from tests.infra.kubeflow.rights import Rights
from tests.infra.kubeflow.sights import Document, pod_document, workload_status
from tests.infra.kubernetes.cluster import Cluster
from tests.infra.kubernetes.cluster.pod_state import PodState

INSTANCE: Final = "app.kubernetes.io/instance"
"""The label that says of which run an object is."""

_KINDS: Final = {
    ("", "configmaps"): ("v1", "ConfigMap"),
    ("", "persistentvolumeclaims"): ("v1", "PersistentVolumeClaim"),
    ("", "secrets"): ("v1", "Secret"),
    ("", "services"): ("v1", "Service"),
    ("apps", "deployments"): ("apps/v1", "Deployment"),
    ("batch", "jobs"): ("batch/v1", "Job"),
    ("networking.k8s.io", "networkpolicies"): ("networking.k8s.io/v1", "NetworkPolicy"),
}
_WORKLOADS: Final = frozenset({"Deployment", "Job"})


class Refused(Exception):
    """The answer to a call that is not done."""

    def __init__(self, status: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Api:
    """What there is, and what was asked for.

    Parameters
    ----------
    cluster : Cluster
    rights : Rights
        Of whoever asks.
    namespace : str
        The only one there is.
    """

    def __init__(self, cluster: Cluster, rights: Rights, namespace: str) -> None:
        self._cluster = cluster
        self._rights = rights
        self._namespace = namespace
        self._lock = threading.RLock()
        self._looking = threading.Lock()
        self._numbers = itertools.count(1)
        self._held: dict[tuple[str, str], Document] = {}
        self._leaving: set[tuple[str, str]] = set()
        self._looked: set[str] = set()
        self.task_pods: dict[str, Document] = {}
        """Pods of tasks, which run elsewhere, by name."""

        self.before_removal: Callable[[str], None] = lambda instance: None
        """Called with a run's name before the first of its workloads is removed."""

        self.failed_looks: list[Exception] = []
        """What came of those calls that failed."""

        self.made: list[Document] = []
        """All that was ever made."""

        self.asked: set[tuple[str, str, str]] = set()
        """Verb, group and resource of every call."""

        self.refused: list[str] = []
        """Calls that the Role does not allow."""

    def answer(self, request: Request, body: Mapping[str, Any]) -> Document | str:
        """Do what is asked for, and return what there is to say.

        Raises
        ------
        Refused
        """
        what = f"{request.verb} {request.what} of group {request.group!r} in {request.namespace}"
        with self._lock:
            self.asked.add((request.verb, request.group, request.what))
            if request.namespace != self._namespace or not self._rights.allow(
                request.verb, request.group, request.what, request.name
            ):
                self.refused.append(what)
                raise Refused(HTTPStatus.FORBIDDEN, "Forbidden", f"the Role does not allow {what}")
        if request.verb in {"delete", "deletecollection"}:
            self._let_look(request)
        with self._lock:
            if (request.group, request.resource) == ("", "pods"):
                return self._about_pods(request)
            if (request.group, request.resource) == ("", "events"):
                return _list("v1", "EventList", [])
            if (request.group, request.resource) not in _KINDS or request.part not in {"", "status"}:
                raise Refused(HTTPStatus.NOT_FOUND, "NotFound", f"this API does not know {what}")
            return self._about_objects(request, body)

    def left(self) -> list[str]:
        """Return all that there is, as kind and name: objects, and pods of the cluster."""
        with self._lock:
            self._forget_what_is_gone()
            objects = [f"{kind}/{name}" for kind, name in self._held]
        return [*objects, *(f"Pod/{one.pod.name}" for one in self._cluster.all_pods())]

    def collect(self, owner: str) -> None:
        """Remove what the object of this uid owns, as the collector of garbage does when that is gone."""
        with self._lock:
            for key, held in list(self._held.items()):
                owners = held["metadata"].get("ownerReferences", ())
                if owner in {one["uid"] for one in owners}:
                    self._remove(key, "Background")

    def _about_objects(self, request: Request, body: Mapping[str, Any]) -> Document | str:
        self._forget_what_is_gone()
        version, kind = _KINDS[request.group, request.resource]
        key = (kind, request.name)
        if request.verb == "create":
            return self._create(version, kind, body)
        if request.verb == "list":
            return _list(version, f"{kind}List", [self._shown(chosen) for chosen in self._chosen(kind, request)])
        if request.verb == "deletecollection":
            for chosen_key in self._chosen(kind, request):
                self._remove(chosen_key, _propagation(request, body))
            return _status()
        if key not in self._held:
            raise Refused(HTTPStatus.NOT_FOUND, "NotFound", f'{request.resource} "{request.name}" not found')
        if request.verb == "get":
            return self._shown(key)
        if request.verb == "delete":
            shown = self._shown(key)
            self._remove(key, _propagation(request, body))
            return shown
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", f"this API does not {request.verb}")

    def _create(self, version: str, kind: str, body: Mapping[str, Any]) -> Document:
        name = body["metadata"]["name"]
        if (kind, name) in self._held:
            raise Refused(HTTPStatus.CONFLICT, "AlreadyExists", f'{kind} "{name}" already exists')
        given = {**body, "metadata": {**body["metadata"], "namespace": self._namespace}}
        try:
            if body["apiVersion"] != version or body["kind"] != kind:
                raise ValueError(f"a {body['apiVersion']} {body['kind']} was sent where {kind}s of {version} are")
            self._cluster.apply([given])
        except (ValueError, ValidationError) as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", str(error)) from error
        number = str(next(self._numbers))
        created = {"uid": f"uid-{number}", "resourceVersion": number, "creationTimestamp": "2020-01-01T00:00:00Z"}
        self._held[kind, name] = {**given, "metadata": {**given["metadata"], **created}}
        self.made.append(self._held[kind, name])
        return self._held[kind, name]

    def _chosen(self, kind: str, request: Request) -> list[tuple[str, str]]:
        return [
            key
            for key, held in self._held.items()
            if key[0] == kind and request.chooses(held["metadata"].get("labels", {}))
        ]

    def _shown(self, key: tuple[str, str]) -> Document:
        kind, name = key
        held = self._held[key]
        shown = {**held, "metadata": dict(held["metadata"])}
        if key in self._leaving:
            shown["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z"
        if kind in _WORKLOADS:
            progress = self._cluster.job(name) if kind == "Job" else None
            shown["status"] = workload_status(held, self._cluster.pods(name), progress)
        elif kind == "PersistentVolumeClaim":
            shown["status"] = {"phase": "Bound"}
        return shown

    def _remove(self, key: tuple[str, str], propagation: str) -> None:
        kind = key[0]
        is_orphaning = kind == "Job" and not propagation
        if key in self._leaving:
            return
        if not is_orphaning and propagation != "Orphan":
            self._cluster.remove(key)
        if kind == "PersistentVolumeClaim" or (kind in _WORKLOADS and propagation == "Foreground"):
            self._leaving.add(key)
            self._forget_what_is_gone()
        else:
            del self._held[key]

    def _forget_what_is_gone(self) -> None:
        pods, claims = self._cluster.all_pods(), self._cluster.claims()
        for kind, name in list(self._leaving):
            is_held = kind == "PersistentVolumeClaim" and name in claims
            if not is_held and not any(_has(one, kind, name) for one in pods):
                self._leaving.discard((kind, name))
                del self._held[kind, name]

    def _about_pods(self, request: Request) -> Document | str:
        states = {state.pod.name: state for state in self._cluster.all_pods()}
        if request.verb in {"list", "deletecollection"}:
            chosen = [one for one in states.values() if request.chooses(one.pod.labels)]
            tasks = [one for one in self.task_pods.values() if request.chooses(one["metadata"].get("labels", {}))]
            if request.verb == "list":
                return _list("v1", "PodList", [*tasks, *(self._pod(one) for one in chosen)])
            for state in chosen:
                self._cluster.delete_pod(state.pod.name)
            return _status()
        if request.name in self.task_pods and (request.verb, request.part) == ("get", ""):
            return self.task_pods[request.name]
        if request.name not in states:
            raise Refused(HTTPStatus.NOT_FOUND, "NotFound", f'pods "{request.name}" not found')
        state = states[request.name]
        if (request.verb, request.part) == ("get", "log"):
            return self._log(state, request)
        if request.part:
            raise Refused(HTTPStatus.NOT_FOUND, "NotFound", f"this API has no {request.what}")
        shown = self._pod(state)
        if request.verb == "delete":
            self._cluster.delete_pod(request.name)
        return shown

    def _pod(self, state: PodState) -> Document:
        owners = (self._held.get((kind, state.pod.owner)) for kind in sorted(_WORKLOADS))
        return pod_document(state, next((one for one in owners if one is not None), None))

    def _log(self, state: PodState, request: Request) -> str:
        containers = [one.name for one in state.pod.spec.containers]
        name = request.query.get("container") or (containers[0] if len(containers) == 1 else "")
        if not name:
            message = f"a container name must be specified for pod {state.pod.name}, choose one of: {containers}"
            raise Refused(HTTPStatus.BAD_REQUEST, "BadRequest", message)
        if not state.runs[name] or (name in state.waiting and name not in state.statuses):
            message = f'container "{name}" in pod "{state.pod.name}" is waiting to start: {state.waiting.get(name)}'
            raise Refused(HTTPStatus.BAD_REQUEST, "BadRequest", message)
        if request.query.get("previous") == "true" and state.runs[name] < 2:
            message = f'previous terminated container "{name}" in pod "{state.pod.name}" not found'
            raise Refused(HTTPStatus.BAD_REQUEST, "BadRequest", message)
        lines = self._cluster.log(state.pod.name, name).splitlines(keepends=True)
        count = int(request.query.get("tailLines", len(lines)))
        return "".join(lines[len(lines) - min(count, len(lines)) :])

    def _let_look(self, request: Request) -> None:
        """Have somebody look at runs of which the first workload is about to go; who asks again meanwhile waits."""
        with self._looking:
            for instance in self._first_to_go(request):
                try:
                    self.before_removal(instance)
                except Exception as error:
                    self.failed_looks.append(error)

    def _first_to_go(self, request: Request) -> list[str]:
        with self._lock:
            chosen = [
                held["metadata"].get("labels", {}).get(INSTANCE, "")
                for (kind, name), held in self._held.items()
                if kind in _WORKLOADS
                and kind == _KINDS.get((request.group, request.resource), ("", ""))[1]
                and request.name in {"", name}
                and request.chooses(held["metadata"].get("labels", {}))
            ]
            new = [name for name in dict.fromkeys(chosen) if name not in self._looked]
            self._looked |= set(new)
        return new


def _has(state: PodState, kind: str, name: str) -> bool:
    return name in state.pod.spec.claims if kind == "PersistentVolumeClaim" else state.pod.owner == name


def _propagation(request: Request, body: Mapping[str, Any]) -> str:
    return str(body.get("propagationPolicy") or request.query.get("propagationPolicy") or "")


def _list(version: str, kind: str, items: list[Document]) -> Document:
    return {"apiVersion": version, "kind": kind, "metadata": {"resourceVersion": "1"}, "items": items}


def _status() -> Document:
    return {"apiVersion": "v1", "kind": "Status", "status": "Success"}
