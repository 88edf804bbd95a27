"""What the API says of pods, and of the workloads that have them, as the cluster has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.infra.kubernetes.cluster.jobs import JobProgress
from tests.infra.kubernetes.cluster.pod_spec import Container
from tests.infra.kubernetes.cluster.pod_state import PodState

Document = dict[str, Any]


def pod_document(state: PodState, owner: Mapping[str, Any] | None) -> Document:
    """Return a pod as the API shows it.

    Parameters
    ----------
    state : PodState
    owner : Mapping or None
        The workload that it is of, unless that is gone.
    """
    pod = state.pod
    metadata: Document = {
        "name": pod.name,
        "namespace": pod.namespace,
        "uid": f"uid-{pod.name}",
        "labels": dict(pod.labels),
        "annotations": dict(pod.annotations),
    }
    if owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
            }
        ]
    if state.is_ending:
        metadata["deletionTimestamp"] = "2020-01-01T00:00:00Z"
    conditions = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Ready", "status": str(state.is_ready)},
        {"type": "ContainersReady", "status": str(state.is_ready)},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": one.name, "image": one.image} for one in pod.spec.containers]},
        "status": {
            # A pod whose image is waited for has not begun.
            "phase": "Pending" if state.waiting and not state.running else state.phase,
            "conditions": conditions,
            "containerStatuses": [_container(state, one) for one in pod.spec.containers],
            "initContainerStatuses": [_container(state, one) for one in pod.spec.init_containers],
        },
    }


def workload_status(document: Mapping[str, Any], pods: Sequence[PodState], progress: JobProgress | None) -> Document:
    """Return the status of a Deployment, or of a Job that has got so far."""
    if progress is not None:
        condition = "Complete" if progress.is_complete else "Failed"
        over = progress.is_complete or progress.has_failed
        return {
            "active": sum(one.phase in {"Pending", "Running"} for one in pods),
            "ready": _count(pods),
            "succeeded": len(progress.succeeded),
            "failed": sum(one.phase == "Failed" for one in pods),
            "conditions": [{"type": condition, "status": "True"}] if over else [],
        }
    wanted, ready = document["spec"].get("replicas", 1), _count(pods)
    status: Document = {"replicas": len(pods), "updatedReplicas": len(pods), "observedGeneration": 1}
    status |= {"readyReplicas": ready, "availableReplicas": ready} if ready else {}
    available = {"type": "Available", "status": str(ready >= wanted)}
    return {**status, "unavailableReplicas": wanted - ready, "conditions": [available]}


def _count(pods: Iterable[PodState]) -> int:
    return sum(one.is_ready for one in pods)


def _container(state: PodState, container: Container) -> Document:
    name = container.name
    has_started = state.has_started(container)
    is_ready = has_started and (container.readiness_probe is None or name in state.probed_ready)
    document: Document = {
        "name": name,
        "image": container.image,
        "imageID": "",
        "ready": is_ready,
        "started": has_started,
        "restartCount": max(state.runs[name] - 1, 0),
        "lastState": {},
        "state": {},
    }
    ended = _terminated(state.statuses[name]) if name in state.statuses else None
    if name in state.waiting:
        message = f'Back-off pulling image "{container.image}"' if ended is None else "back-off restarting"
        document["state"] = {"waiting": {"reason": state.waiting[name], "message": message}}
        document["lastState"] = ended or {}
    elif name in state.running:
        document["state"] = {"running": {"startedAt": "2020-01-01T00:00:00Z"}}
        document["lastState"] = ended or {}
    elif ended is not None:
        document["state"] = ended
    else:
        document["state"] = {"waiting": {"reason": "ContainerCreating"}}
    return document


def _terminated(status: int) -> Document:
    reason = "Completed" if status == 0 else "Error"
    return {"terminated": {"exitCode": status, "reason": reason, "finishedAt": "2020-01-01T00:00:00Z"}}
