"""One namespace of Kubernetes, asked by its official client: what a run may do there, and nothing more.

Objects go in and come out as dictionaries, as the API has them; `rbac.yaml` allows exactly these calls.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import stamina
import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, list_kube_config_contexts, load_config

from fedtier.problems import StartupError
from infra.kubeflow.steps.objects import INSTANCE, Object

_PATHS: Final = {
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "Service": "/api/v1/namespaces/{namespace}/services",
}
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_SECONDS: Final = (10.0, 60.0)
"""To connect, and for an answer."""
_PASSING: Final = {0, 429, 500, 502, 503, 504}
"""Statuses of an API that is away for a moment."""
_NOT_FOUND: Final = 404
_FORBIDDEN: Final = 403
_LOG_LINES: Final = 20
_TRIES: Final = 6
_TRYING_SECONDS: Final = 60.0
_WITH_OTHERS: Final = {"Deployment", "Job"}
"""Kinds of which something else is made, that goes first."""


class Unavailable(StartupError):
    """The API of Kubernetes does not answer just now."""


class AlreadyThere(StartupError):
    """There is an object of that name."""


class Namespace:
    """A namespace, and a right to some things in it.

    An API that is away for a moment is asked again.

    Parameters
    ----------
    client : kubernetes.client.ApiClient
    name : str
    tries : int
        How often something is asked at most.
    """

    def __init__(self, client: ApiClient, name: str, *, tries: int = _TRIES) -> None:
        self._client = client
        self._tries = tries
        self.name = name

    def create(self, one: Object) -> None:
        """Make an object.

        Raises
        ------
        StartupError
            It is refused, or there is one of its name.
        """
        for attempt in self._attempts():
            with attempt:
                try:
                    self._call("POST", one["kind"], body=one)
                except AlreadyThere:
                    if attempt.num == 1:
                        raise
                    # What answers so may be the try before this one, whose own answer was lost.

    def listed(self, kind: str, run: str) -> list[Object]:
        """Return the objects of a kind that a run has.

        Raises
        ------
        StartupError
        """
        query = {"labelSelector": f"{INSTANCE}={run}"}
        found = self._asked_again("GET", kind, query=query)
        # In a list, the API leaves out what each of its items is.
        return [{"kind": kind, **one} for one in found["items"]]

    def delete(self, kind: str, name: str) -> bool:
        """Delete an object and, before it, what it made; return whether it was there.

        Raises
        ------
        StartupError
        """
        policy = "Foreground" if kind in _WITH_OTHERS else "Background"
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}
        return self._asked_again("DELETE", kind, name, body=options, may_be_missing=True) is not None

    def owner_of(self, pod: str) -> Object | None:
        """Return the reference to what a pod is part of, if it is part of anything.

        Raises
        ------
        StartupError
        """
        found = self._asked_again("GET", "Pod", pod, may_be_missing=True) or {"metadata": {}}
        owners: list[Object] = found["metadata"].get("ownerReferences") or []
        return next((one for one in owners if one.get("controller")), None)

    def log(self, pod: str, container: str, *, previous: bool) -> str:
        """Return the last lines that a container printed, or why they cannot be had.

        Parameters
        ----------
        pod, container : str
        previous : bool
            Of its run before this one.
        """
        query = {"container": container, "tailLines": _LOG_LINES, "previous": str(previous).lower()}
        options = {"query_params": query, "_preload_content": False}  # it is no JSON, though a line may look so
        try:
            found: bytes = self._asked("GET", "Pod", f"/{pod}/log", options).data
        except (ApiException, Unavailable) as error:
            return f"(its log cannot be read: {getattr(error, 'reason', error)})"
        return found.decode(errors="replace").rstrip()

    def _attempts(self) -> Iterable[stamina.Attempt]:
        return stamina.retry_context(on=Unavailable, attempts=self._tries, timeout=_TRYING_SECONDS)

    def _asked_again(self, *words: str, **options: Any) -> Any:
        for attempt in self._attempts():
            with attempt:
                return self._call(*words, **options)
        raise AssertionError("stamina ends with an answer or an exception")

    def _call(
        self,
        method: str,
        kind: str,
        name: str = "",
        *,
        query: Object | None = None,
        body: Object | None = None,
        may_be_missing: bool = False,
    ) -> Any:
        """Return the API's answer, or None where there is no such object and there need not be one."""
        what = name or (body or {}).get("metadata", {}).get("name", "")
        options = {"query_params": query or {}, "body": body, "response_type": "object"}
        try:
            return self._asked(method, kind, f"/{name}" if name else "", options)
        except ApiException as error:
            if error.status == _NOT_FOUND and may_be_missing:
                return None
            raise _in_words(error, " ".join(word for word in (method, kind, what) if word)) from None

    def _asked(self, method: str, kind: str, below: str, options: Object) -> Any:
        headers = {"Accept": "application/json, */*", "Content-Type": "application/json"}
        try:
            return self._client.call_api(
                _PATHS[kind].format(namespace=self.name) + below,
                method,
                header_params=headers,
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=_SECONDS,
                **options,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"the API of Kubernetes cannot be reached ({type(error).__name__})") from None


def connect() -> Namespace:
    """Return the namespace that this task runs in, or, on a developer's machine, that of the current context.

    Raises
    ------
    StartupError
        There is neither a service account nor a kubeconfig.
    """
    configuration = Configuration()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # in a pod it warns that there is no kubeconfig
            load_config(client_configuration=configuration)
        return Namespace(ApiClient(configuration), _name())
    except (ConfigException, OSError) as error:
        raise StartupError(
            f"there is no way to a cluster: neither a service account nor a kubeconfig ({error})"
        ) from None


def _name() -> str:
    try:
        _, context = list_kube_config_contexts()
    except ConfigException:
        return _ACCOUNT.read_text().strip()
    return str(context["context"].get("namespace") or "default")


def _in_words(error: ApiException, asked: str) -> StartupError:
    """Return what the API answered; of a Secret, it is not told what was wrong with it, which may quote it."""
    try:
        said = json.loads(error.body)
        reason, message = str(said["reason"]), str(said["message"])
    except (ValueError, TypeError, KeyError):
        reason = message = str(error.reason)
    shown = reason if "Secret" in asked and error.status != _FORBIDDEN else message
    sentence = f"{asked}: the API of Kubernetes answers {error.status}: {shown}"
    # A conflict is somebody else's, who writes to the same quota.
    if error.status in _PASSING or reason == "Conflict":
        return Unavailable(sentence)
    if reason == "AlreadyExists":
        return AlreadyThere(sentence)
    if error.status == _FORBIDDEN and "cannot" in message:
        sentence += "; infra/kubeflow/rbac.yaml has the rights that the runner's service account needs"
    return StartupError(sentence)
