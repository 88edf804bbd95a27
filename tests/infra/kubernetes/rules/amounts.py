"""Every container says what it needs and what it gets at most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.infra.kubernetes.manifests import Manifests, where
from tests.infra.kubernetes.pods import Container, Document
from tests.infra.kubernetes.quantities import quantity


def containers_ask_for_what_they_may_have(manifests: Manifests) -> Iterator[str]:
    """CPU, memory and disk are asked for, memory and disk are limited, and no request exceeds its limit."""
    for pod in manifests.pods:
        for container in pod.all_containers:
            yield from _wrong(container)


def volumes_have_a_size(manifests: Manifests) -> Iterator[str]:
    """An `emptyDir` is limited, and a claim asks for something."""
    for pod in manifests.pods:
        for name, volume in pod.volumes.items():
            if "emptyDir" in volume:
                yield from _not_an_amount(f"{pod.maker}, volume {name}", (volume["emptyDir"] or {}).get("sizeLimit"))
    for document, claim in _claims(manifests):
        wanted = claim["spec"].get("resources", {}).get("requests", {}).get("storage")
        yield from _not_an_amount(f"{where(document)}, claim {claim['metadata']['name']}", wanted)


def _wrong(container: Container) -> Iterator[str]:
    resources = container.spec.get("resources", {})
    requests, limits = _amounts(container, resources, "requests"), _amounts(container, resources, "limits")
    for sentence in [*requests.values(), *limits.values()]:
        if isinstance(sentence, str):
            yield sentence
    for name in ("cpu", "memory"):
        if name not in requests:
            yield f"{container.where} does not ask for {name}"
    if "memory" not in limits:
        yield f"{container.where} has no limit of memory"
    for name in requests.keys() & limits.keys():
        wanted, most = requests[name], limits[name]
        if not isinstance(wanted, str) and not isinstance(most, str) and wanted > most:
            yield f"{container.where} asks for more {name} than it may have"


def _amounts(container: Container, resources: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return amounts by name; a sentence stands for what is none."""
    found: dict[str, Any] = {}
    for name, value in (resources.get(kind) or {}).items():
        try:
            found[name] = quantity(value)
        except ValueError as error:
            found[name] = f"{container.where}, {kind} of {name}: {error}"
    return found


def _not_an_amount(what: str, value: str | float | None) -> Iterator[str]:
    try:
        if value is None or quantity(value) <= 0:
            yield f"{what} has no size"
    except ValueError as error:
        yield f"{what}: {error}"


def _claims(manifests: Manifests) -> Iterator[tuple[Document, Document]]:
    for claim in manifests.of("PersistentVolumeClaim"):
        yield claim, claim
    for made in manifests.of("StatefulSet"):
        for claim in made["spec"].get("volumeClaimTemplates", []):
            yield made, claim
