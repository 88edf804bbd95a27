"""What lies at a path in a container."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from tests.infra.kubernetes.expansion import expanded
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.pods import Container, Document, Pod


def mount_of(container: Container, path: str) -> Document | None:
    """Return the innermost mount that a path lies on or below, or None where it lies in the image."""
    above = [mount for mount in container.mounts if PurePosixPath(path).is_relative_to(mount["mountPath"])]
    return max(above, key=lambda mount: len(PurePosixPath(mount["mountPath"]).parts), default=None)


def is_writable(pod: Pod, mount: Document) -> bool:
    """Return whether a container may write where a volume is mounted."""
    volume = pod.volumes.get(mount["name"], {})
    return not mount.get("readOnly") and ("emptyDir" in volume or "persistentVolumeClaim" in volume)


def is_there(
    pod: Pod, container: Container, path: str, manifests: Manifests, environment: Mapping[str, str]
) -> bool | None:
    """Return whether a mounted ConfigMap or Secret has a file at a path; None where something else lies there."""
    mount = mount_of(container, path)
    files = None if mount is None else files_of(pod.volumes.get(mount["name"], {}), manifests)
    if mount is None or files is None:
        return None
    below = str(PurePosixPath(path).relative_to(mount["mountPath"]))
    sub = expanded(mount.get("subPathExpr", ""), environment) or mount.get("subPath", "")
    wanted = str(PurePosixPath(sub) / below)
    return wanted in files or wanted == "."


def files_of(volume: Document, manifests: Manifests) -> set[str] | None:
    """Return the files of a volume that is made of ConfigMaps and Secrets, or None where it is not."""
    sources = volume["projected"]["sources"] if "projected" in volume else [volume]
    if not any(kind in source for source in sources for kind in ("configMap", "secret")):
        return None
    return {name for source in sources for name in _of_source(source, manifests)}


def _of_source(source: Mapping[str, Any], manifests: Manifests) -> Iterator[str]:
    for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
        wanted = source.get(field)
        if wanted and "items" in wanted:
            yield from (item["path"] for item in wanted["items"])
        elif wanted:
            yield from manifests.keys(kind, wanted.get("secretName") or wanted["name"]) or ()
