"""The objects of one overlay, and the questions that rules ask of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.infra.kubernetes.pods import Document, Pod, pods_of


@dataclass(frozen=True, slots=True)
class Manifests:
    """What is applied together.

    Parameters
    ----------
    objects : tuple of Mapping
        As the YAML has them.
    """

    objects: tuple[Document, ...]

    @classmethod
    def parse(cls, text: str) -> Manifests:
        """Read a stream of YAML documents; a `List` counts as what is in it."""
        found: list[Document] = []
        for document in yaml.safe_load_all(text):
            if document:
                found += document["items"] if document["kind"] == "List" else [document]
        return cls(tuple(found))

    def __add__(self, other: Manifests) -> Manifests:
        return Manifests(self.objects + other.objects)

    def of(self, *kinds: str) -> list[Document]:
        """Return the objects of some kinds."""
        return [one for one in self.objects if one["kind"] in kinds]

    def named(self, kind: str, name: str) -> Document | None:
        """Return an object, or None where there is no such."""
        return next((one for one in self.of(kind) if one["metadata"]["name"] == name), None)

    def keys(self, kind: str, name: str) -> set[str] | None:
        """Return the keys of a ConfigMap or Secret, or None where there is no such."""
        found = self.named(kind, name)
        if found is None:
            return None
        return {key for part in ("data", "stringData", "binaryData") for key in found.get(part) or {}}

    @property
    def pods(self) -> list[Pod]:
        return [pod for one in self.objects for pod in pods_of(one)]

    def pods_of(self, name: str) -> Pod:
        """Return the pods that the object with a name makes."""
        return next(pod for pod in self.pods if pod.name == name)

    def selected(self, selector: Mapping[str, Any] | None, namespace: str) -> list[str]:
        """Return the names of those whose pods a label selector matches in a namespace.

        None matches nothing, and an empty selector everything, as everywhere in Kubernetes.
        """
        if selector is None:
            return []
        return [pod.name for pod in self.pods if pod.namespace == namespace and matches(selector, pod.labels)]


def where(document: Document) -> str:
    """Return what a complaint calls an object."""
    return f"{document['kind']}/{document['metadata']['name']}"


def namespace_of(document: Document) -> str:
    """Return the namespace of an object that lies in one."""
    return str(document["metadata"].get("namespace", "default"))


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a label selector, with ``matchLabels`` and ``matchExpressions``, matches labels."""
    exact = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return exact and all(_holds(one, labels) for one in selector.get("matchExpressions") or [])


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    values = list(expression.get("values") or [])
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"{expression['operator']} is no operator of a label selector")
