"""What one object names of another is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.infra.kubernetes.manifests import Manifests, where
from tests.infra.kubernetes.pods import Container, Document, Pod


def keys_that_are_read_exist(manifests: Manifests) -> Iterator[str]:
    """ConfigMaps and Secrets of volumes and variables are there, with the keys that are asked for."""
    for pod in manifests.pods:
        for kind, name, key, reader in _readings(pod):
            keys = manifests.keys(kind, name)
            if keys is None:
                yield f"{reader} reads {kind}/{name}, which there is not"
            elif key is not None and key not in keys:
                yield f"{reader} reads {key!r} of {kind}/{name}, which has {sorted(keys)}"


def nothing_is_made_that_nobody_reads(manifests: Manifests) -> Iterator[str]:
    """Every ConfigMap, Secret, ServiceAccount and claim is used by some pod."""
    used = {(kind, name) for pod in manifests.pods for kind, name, _, _ in _readings(pod)}
    used |= {("ServiceAccount", pod.spec.get("serviceAccountName", "default")) for pod in manifests.pods}
    used |= {("PersistentVolumeClaim", claim) for pod in manifests.pods for claim in _claims_of(pod)}
    for one in manifests.of("ConfigMap", "Secret", "ServiceAccount", "PersistentVolumeClaim"):
        if (one["kind"], one["metadata"]["name"]) not in used:
            yield f"nobody uses {where(one)}"


def accounts_and_claims_exist(manifests: Manifests) -> Iterator[str]:
    """A pod's service account is there, and so are the claims of its volumes."""
    for pod in manifests.pods:
        account = pod.spec.get("serviceAccountName", "default")
        if manifests.named("ServiceAccount", account) is None:
            yield f"{pod.maker} runs as ServiceAccount/{account}, which there is not"
        for claim in _claims_of(pod):
            if claim not in pod.claims and manifests.named("PersistentVolumeClaim", claim) is None:
                yield f"{pod.maker} has a volume of claim {claim}, which there is not"


def mounts_have_volumes(manifests: Manifests) -> Iterator[str]:
    """Every mount names a volume of its pod, and every volume is mounted somewhere."""
    for pod in manifests.pods:
        mounted: set[str] = set()
        for container in pod.all_containers:
            for mount in container.mounts:
                mounted.add(mount["name"])
                if mount["name"] not in pod.volumes:
                    yield f"{container.where} mounts volume {mount['name']}, which there is not"
        for name in pod.volumes.keys() - mounted:
            yield f"{pod.maker} has volume {name}, which no container mounts"


def classes_exist(manifests: Manifests) -> Iterator[str]:
    """Classes of storage and of priority are among these manifests; a claim without one has the cluster's own."""
    for pod in manifests.pods:
        priority = pod.spec.get("priorityClassName")
        if priority is not None and manifests.named("PriorityClass", priority) is None:
            yield f"{pod.maker} has PriorityClass/{priority}, which there is not"
    claims = [
        *manifests.of("PersistentVolumeClaim"),
        *(claim for one in manifests.of("StatefulSet") for claim in one["spec"].get("volumeClaimTemplates", [])),
    ]
    for claim in claims:
        wanted = claim["spec"].get("storageClassName")
        if wanted is not None and manifests.named("StorageClass", wanted) is None:
            yield f"claim {claim['metadata']['name']} wants StorageClass/{wanted}, which there is not"


def _claims_of(pod: Pod) -> list[str]:
    claims = [volume.get("persistentVolumeClaim") for volume in pod.volumes.values()]
    return [claim["claimName"] for claim in claims if claim]


def _readings(pod: Pod) -> Iterator[tuple[str, str, str | None, str]]:
    """Yield what a pod reads of ConfigMaps and Secrets: kind, name, key or None for all, and who reads."""
    for name, volume in pod.volumes.items():
        yield from _of_volume(volume, f"{pod.maker}, volume {name}")
    for container in pod.all_containers:
        yield from _of_variables(container)


def _of_volume(volume: Document, reader: str) -> Iterator[tuple[str, str, str | None, str]]:
    for source in (volume, *volume.get("projected", {}).get("sources", [])):
        for field, kind, naming in (
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName" if source is volume else "name"),
        ):
            wanted = source.get(field)
            if wanted:
                items: list[Any] = wanted.get("items") or [{}]
                yield from ((kind, wanted[naming], item.get("key"), reader) for item in items)


def _of_variables(container: Container) -> Iterator[tuple[str, str, str | None, str]]:
    kinds = (("configMap", "ConfigMap"), ("secret", "Secret"))
    for source in container.spec.get("envFrom", []):
        for field, kind in kinds:
            if f"{field}Ref" in source:
                yield kind, source[f"{field}Ref"]["name"], None, container.where
    for variable in container.spec.get("env", []):
        for field, kind in kinds:
            wanted = variable.get("valueFrom", {}).get(f"{field}KeyRef")
            if wanted:
                yield kind, wanted["name"], wanted["key"], container.where
