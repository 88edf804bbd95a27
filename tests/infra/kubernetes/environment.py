"""The environment that a container starts with, put together as the kubelet does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.infra.kubernetes.expansion import expanded
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.pods import COMPLETION_INDEX, Container, Pod

_INDEX: Final = "JOB_COMPLETION_INDEX"


def environment_of(pod: Pod, container: Container, manifests: Manifests, *, index: int = 0) -> dict[str, str]:
    """Return a container's variables.

    Parameters
    ----------
    pod : Pod
    container : Container
        One of its.
    manifests : Manifests
        Where ConfigMaps, Secrets and Services are; a Secret's value stands as the name of its key.
    index : int
        Of the pod, where an Indexed Job makes it.

    Notes
    -----
    Variables of ``envFrom`` come first. Then each of ``env`` is expanded by what stands before it; the Job controller
    adds the completion index behind all others, so that none of them can refer to it unless they bring it themselves.
    """
    found = dict(_service_links(pod, manifests))
    for source in container.spec.get("envFrom", []):
        found |= {source.get("prefix", "") + name: value for name, value in _whole(source, manifests).items()}
    for variable in container.spec.get("env", []):
        if "valueFrom" in variable:
            value = _referred(variable["valueFrom"], pod, manifests, index)
        else:
            value = expanded(str(variable.get("value", "")), found)
        found[variable["name"]] = value
    if pod.maker.startswith("Job/"):
        found.setdefault(_INDEX, str(index))
    return found


def words_of(container: Container, environment: Mapping[str, str]) -> list[str]:
    """Return what a container's image is called with, ``args``, expanded."""
    return [expanded(str(word), environment) for word in container.spec.get("args", [])]


def _whole(source: Mapping[str, Any], manifests: Manifests) -> dict[str, str]:
    if "configMapRef" in source:
        found = manifests.named("ConfigMap", source["configMapRef"]["name"])
        return dict(found.get("data") or {}) if found else {}
    return {key: key for key in manifests.keys("Secret", source["secretRef"]["name"]) or ()}


def _referred(source: Mapping[str, Any], pod: Pod, manifests: Manifests, index: int) -> str:
    if "configMapKeyRef" in source:
        wanted = source["configMapKeyRef"]
        found = manifests.named("ConfigMap", wanted["name"])
        return str(((found or {}).get("data") or {}).get(wanted["key"], ""))
    if "secretKeyRef" in source:
        return str(source["secretKeyRef"]["key"])
    if "fieldRef" in source:
        fields = {COMPLETION_INDEX: str(index), "metadata.name": f"{pod.name}-0", "metadata.namespace": pod.namespace}
        return fields.get(source["fieldRef"]["fieldPath"], "1")
    return "1"  # of resourceFieldRef


def _service_links(pod: Pod, manifests: Manifests) -> Iterator[tuple[str, str]]:
    """Yield the variables that every Service of the namespace puts into pods that do not decline them."""
    if pod.spec.get("enableServiceLinks", True) is False:
        return
    for service in manifests.of("Service"):
        prefix = service["metadata"]["name"].upper().replace("-", "_")
        for name in ("SERVICE_HOST", "SERVICE_PORT", "PORT"):
            yield f"{prefix}_{name}", "tcp://10.0.0.1:1"
