"""Waits until a run's servers are there for everybody, and says why not when they will not be."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import requests

from fedtier.problems import StartupError
from infra.kubeflow.steps import pods
from infra.kubeflow.steps.namespace import Namespace, Unavailable
from infra.kubeflow.steps.objects import MASTER, S3, WORKER, Object, RunSettings, address_of
from infra.kubeflow.steps.pod_states import Hope, Patience, Trouble, described, is_ready, refused, troubles_of

_ASKED: Final = {S3: "/healthz", MASTER: "/readyz", WORKER: "/readyz"}
_COMPONENT: Final = "app.kubernetes.io/component"
_MOST_SECONDS: Final = 900.0
"""A volume is made, an image of hundreds of megabytes pulled, perhaps to a node that has yet to come."""
_LOOK_AGAIN: Final = 1.0
_ANSWER_SECONDS: Final = 5.0


class Readiness:
    """How ready a run's servers are.

    Parameters
    ----------
    namespace : Namespace
    settings : RunSettings
    authority : Path
        Certificate of the authority that the servers' are of.
    patience : Patience
    limit : float
        Seconds that a wait takes at most.
    ask : callable
        Takes a URL and the path of an authority's certificate; see `asked`.
    clock : callable
        Seconds, never less than before.
    pause : callable
        Takes the seconds until the next look.
    """

    def __init__(
        self,
        namespace: Namespace,
        settings: RunSettings,
        authority: Path,
        *,
        patience: Patience | None = None,
        limit: float = _MOST_SECONDS,
        ask: Callable[[str, Path], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._namespace = namespace
        self._settings = settings
        self._authority = authority
        self._patience = patience or Patience()
        self._limit = limit
        self._ask = ask or asked
        self._clock = clock
        self._pause = pause

    def wait_for(self, *components: str) -> None:
        """Return when all pods of some components are ready, and answer through their Services.

        Raises
        ------
        StartupError
            That will not be, or has not come to be in time.
        """
        hope, deadline, told = Hope(), self._clock() + self._limit, ""
        while missing := self._missing(components, hope):
            if missing != told:
                print(f"waiting: {missing}", flush=True)
                told = missing
            if self._clock() > deadline:
                raise StartupError(f"not ready after {self._limit:g} s: {missing}")
            self._pause(_LOOK_AGAIN)
        print(f"ready: {', '.join(components)}", flush=True)

    def _missing(self, components: tuple[str, ...], hope: Hope) -> str:
        """Return what is still missing, in words; nothing, when all is there."""
        try:
            found = self._namespace.listed("Pod", self._settings.run)
            deployments = self._namespace.listed("Deployment", self._settings.run)
        except Unavailable as error:
            return str(error)
        troubles = [one for pod in found for one in troubles_of(pod, self._patience)]
        troubles += [one for deployment in deployments for one in refused(deployment, self._patience)]
        if lost := hope.lost(troubles, self._clock()):
            raise StartupError(self._told(lost))
        waited_for = [self._pods_missing(component, found) for component in components]
        waited_for = [one for one in waited_for if one] or [self._answer_missing(component) for component in components]
        return "; ".join(one for one in waited_for if one)

    def _pods_missing(self, component: str, found: list[Object]) -> str:
        of_component = [pod for pod in found if pod["metadata"]["labels"].get(_COMPONENT) == component]
        wanted, ready = pods.wanted(self._settings)[component], sum(is_ready(pod) for pod in of_component)
        if ready >= wanted:
            return ""
        states = ", ".join(described(pod) for pod in of_component) or "no pod has been made"
        return f"{component} has {ready} of {wanted} pods ready ({states})"

    def _answer_missing(self, component: str) -> str:
        return self._ask(f"{address_of(component, self._settings)}{_ASKED[component]}", self._authority)

    def _told(self, trouble: Trouble) -> str:
        """Return a trouble with the end of the log, where there is one."""
        if trouble.crashed is None:
            return str(trouble)
        log = self._namespace.log(*trouble.crashed, previous=True)
        return f"{trouble}; its log ends with:\n{log}"


def asked(url: str, authority: Path) -> str:
    """Ask a server whether it is ready, as clients reach it; return what is wrong, or nothing.

    Parameters
    ----------
    url : str
    authority : Path
        Certificate of the one authority that is believed.
    """
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy for the world outside knows nothing of the cluster
            answer = session.get(url, verify=str(authority), timeout=_ANSWER_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        return f"{url} does not answer ({type(error).__name__})"
    return "" if answer.status_code == requests.codes.ok else f"{url} answers {answer.status_code}"
