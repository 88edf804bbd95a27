"""What pods tell of themselves, read: whether they are ready, and what keeps them from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Pod = Mapping[str, Any]
"""As the API of Kubernetes has it in JSON."""

_HOPELESS: Final = {"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"}
"""Nothing changes these but somebody who changes the pod."""
_PULLING: Final = {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"}
_CREATING: Final = {"CreateContainerError", "RunContainerError"}
_MOST_RESTARTS: Final = 2
"""One crash may be somebody else's fault, who was not there yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds that trouble may last before there is no hope.

    Parameters
    ----------
    pulling : float
        For an image: a registry may be away for a moment.
    placing : float
        For a node: a cluster that scales itself may make one.
    making : float
        For pods that are refused: what an earlier run had may be about to be given back.
    """

    pulling: float = 20.0
    placing: float = 300.0
    making: float = 60.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps something from getting ready.

    Parameters
    ----------
    where : str
        The pod and its container, in words.
    reason, message : str
        As Kubernetes has them.
    patience : float
        Seconds after which it is final; 0 is at once.
    crashed : (str, str) or None
        The pod and container whose log says more.
    """

    where: str
    reason: str
    message: str
    patience: float
    crashed: tuple[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}" + (f" ({self.message})" if self.message else "")


class Hope:
    """Remembers since when there is which trouble, and says which has lasted too long."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, float], float] = {}

    def lost(self, troubles: Iterable[Trouble], now: float) -> Trouble | None:
        """Return a trouble that will not pass, if there is one.

        Parameters
        ----------
        troubles : iterable of Trouble
            All there are now; those that are not among them any more are forgotten.
        now : float
            Seconds of a clock that never goes back.
        """
        found = {(one.where, one.patience): one for one in troubles}
        # By patience, and not by reason: a kubelet that cannot pull an image gives two of them in turn.
        self._since = {key: self._since.get(key, now) for key in found}
        return next((one for key, one in found.items() if now - self._since[key] >= one.patience), None)


def is_ready(pod: Pod) -> bool:
    """Return whether all containers of a pod are ready, and it is not about to end."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    return _condition(pod, "Ready").get("status") == "True"


def described(pod: Pod) -> str:
    """Return in a few words how a pod is."""
    status = pod.get("status", {})
    states = [f"{one['name']} {_state_in_words(one)}" for one in _containers(status)]
    return f"pod {pod['metadata']['name']} is {status.get('phase', 'new')}" + (
        f": {', '.join(states)}" if states else ""
    )


def troubles_of(pod: Pod, patience: Patience) -> Iterator[Trouble]:
    """Yield what keeps a pod from being ready; a pod that is about to end has no troubles."""
    metadata, status = pod["metadata"], pod.get("status", {})
    if "deletionTimestamp" in metadata:
        return
    name = f"pod {metadata['name']}"
    placed = _condition(pod, "PodScheduled")
    if placed.get("status") == "False":
        yield Trouble(name, placed.get("reason", "Unschedulable"), placed.get("message", ""), patience.placing)
    if status.get("phase") == "Failed":
        # Its maker makes another one.
        yield Trouble(name, status.get("reason", "Failed"), status.get("message", ""), patience.making)
    for container in _containers(status):
        yield from _of_container(metadata["name"], container, patience)


def refused(workload: Mapping[str, Any], patience: Patience) -> Iterator[Trouble]:
    """Yield why a Deployment's pods are not made: a quota, or a policy of the namespace."""
    for condition in workload.get("status", {}).get("conditions") or []:
        if (condition["type"], condition["status"]) == ("ReplicaFailure", "True"):
            name = f"{workload['kind'].lower()} {workload['metadata']['name']}"
            yield Trouble(name, condition.get("reason", ""), condition.get("message", ""), patience.making)


def _of_container(pod: str, container: Mapping[str, Any], patience: Patience) -> Iterator[Trouble]:
    where = f"pod {pod}, container {container['name']}"
    waiting = container.get("state", {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _HOPELESS:
        yield Trouble(where, reason, message, 0.0)
    elif reason in _PULLING | _CREATING:
        yield Trouble(where, reason, message, patience.pulling)
    elif container.get("restartCount", 0) >= _MOST_RESTARTS and not container.get("ready"):
        yield Trouble(where, "it ends again and again", _last_end(container), 0.0, (pod, container["name"]))


def _last_end(container: Mapping[str, Any]) -> str:
    for state in (container.get("state", {}), container.get("lastState", {})):
        if ended := state.get("terminated"):
            return f"{ended.get('reason', 'ended')}, status {ended['exitCode']}"
    return ""


def _state_in_words(container: Mapping[str, Any]) -> str:
    if container.get("ready"):
        return "ready"
    ((kind, state),) = (container.get("state") or {"new": {}}).items()
    return f"{kind} {(state or {}).get('reason', '')}".strip()


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _condition(pod: Pod, kind: str) -> Mapping[str, Any]:
    conditions: list[Mapping[str, Any]] = pod.get("status", {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})
