"""What scales, governs and guards sets of pods has such a set, and can do its work."""

from __future__ import annotations

from collections.abc import Iterator

from tests.infra.kubernetes.manifests import Manifests, namespace_of, where
from tests.infra.kubernetes.pods import Document, Pod


def targets_exist(manifests: Manifests) -> Iterator[str]:
    """An autoscaler's target is there, of the version that it names, and counts its replicas nowhere itself."""
    for scaler in manifests.of("HorizontalPodAutoscaler"):
        wanted = scaler["spec"]["scaleTargetRef"]
        target = _target(scaler, manifests)
        if target is None or target["apiVersion"] != wanted["apiVersion"]:
            yield f"{where(scaler)} scales {wanted['kind']}/{wanted['name']}, which there is not"
        elif "replicas" in target["spec"]:
            yield f"{where(target)} says how many replicas it has, which every apply would set {where(scaler)} back to"
        if scaler["spec"].get("minReplicas", 1) >= scaler["spec"]["maxReplicas"]:
            yield f"{where(scaler)} has nothing to scale between"


def what_is_measured_is_asked_for(manifests: Manifests) -> Iterator[str]:
    """An autoscaler measures use by what is asked for, so that every container of its pods has to ask."""
    for scaler in manifests.of("HorizontalPodAutoscaler"):
        if _target(scaler, manifests) is None:
            continue
        pod = manifests.pods_of(scaler["spec"]["scaleTargetRef"]["name"])
        for metric in scaler["spec"]["metrics"]:
            yield from _not_asked_for(metric["resource"]["name"], pod, scaler)


def sets_have_a_service_of_their_own(manifests: Manifests) -> Iterator[str]:
    """A StatefulSet names a Service, which selects its pods."""
    for one in manifests.of("StatefulSet"):
        service = manifests.named("Service", one["spec"].get("serviceName", ""))
        selector = {"matchLabels": service["spec"]["selector"]} if service else None
        if manifests.selected(selector, namespace_of(one)) != [one["metadata"]["name"]]:
            yield f"{where(one)} has no Service {one['spec'].get('serviceName')!r} of its own"


def disruptions_leave_room(manifests: Manifests) -> Iterator[str]:
    """A budget lets at least one pod go, or else no node could be drained."""
    for budget in manifests.of("PodDisruptionBudget"):
        least, most = budget["spec"].get("minAvailable"), budget["spec"].get("maxUnavailable")
        for name in manifests.selected(budget["spec"]["selector"], namespace_of(budget)):
            if most == 0 or (least is not None and least >= _fewest(manifests, name)):
                yield f"{where(budget)} lets no pod of {name} go"


def _target(scaler: Document, manifests: Manifests) -> Document | None:
    wanted = scaler["spec"]["scaleTargetRef"]
    return manifests.named(wanted["kind"], wanted["name"])


def _not_asked_for(resource: str, pod: Pod, scaler: Document) -> Iterator[str]:
    for container in pod.containers:
        if resource not in (container.spec.get("resources", {}).get("requests") or {}):
            yield f"{where(scaler)} measures {resource}, which {container.where} does not ask for"


def _fewest(manifests: Manifests, name: str) -> int:
    """Return how many pods of a set there may be."""
    scalers = [one["spec"] for one in manifests.of("HorizontalPodAutoscaler")]
    fewest = [int(spec.get("minReplicas", 1)) for spec in scalers if spec["scaleTargetRef"]["name"] == name]
    return fewest[0] if fewest else manifests.pods_of(name).count
