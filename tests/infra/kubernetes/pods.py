"""Pods as the manifests describe them: their containers, and what a container finds when it starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from tests.infra.kubernetes.quantities import quantity

Document = Mapping[str, Any]

COMPLETION_INDEX: Final = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod.

    Parameters
    ----------
    pod : str
        Who makes the pod, as ``Kind/name``.
    spec : Mapping
        As the manifest has it.
    is_init : bool
        Whether it ends before the others start.
    """

    pod: str
    spec: Document
    is_init: bool

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def where(self) -> str:
        """What a complaint calls it."""
        return f"{self.pod}, container {self.name}"

    @property
    def image(self) -> str:
        return str(self.spec["image"])

    @property
    def ports(self) -> dict[str, int]:
        """The ports that have names, by name."""
        return {port["name"]: port["containerPort"] for port in self.spec.get("ports", []) if "name" in port}

    def asks_for(self, resource: str) -> Fraction:
        """Return how much of a resource is kept for it."""
        return quantity(self.spec["resources"]["requests"][resource])

    @property
    def mounts(self) -> list[Document]:
        return list(self.spec.get("volumeMounts", []))

    @property
    def probes(self) -> list[tuple[str, Document]]:
        kinds = ("startupProbe", "readinessProbe", "livenessProbe")
        return [(kind, self.spec[kind]) for kind in kinds if kind in self.spec]


@dataclass(frozen=True, slots=True)
class Pod:
    """The pods that one object makes.

    Parameters
    ----------
    maker : str
        The object, as ``Kind/name``.
    namespace : str
    labels : Mapping of str to str
    spec : Mapping
        Of the pod.
    count : int
        How many the manifest asks for.
    claims : tuple of str
        The volumes that its maker's claim templates bring.
    """

    maker: str
    namespace: str
    labels: Mapping[str, str]
    spec: Document
    count: int
    claims: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of what makes it."""
        return self.maker.partition("/")[2]

    @property
    def containers(self) -> list[Container]:
        """Those that run at the same time."""
        return [Container(self.maker, spec, is_init=False) for spec in self.spec.get("containers", [])]

    @property
    def all_containers(self) -> list[Container]:
        """Those that only prepare it, too."""
        inits = [Container(self.maker, spec, is_init=True) for spec in self.spec.get("initContainers", [])]
        return [*inits, *self.containers]

    @property
    def ports(self) -> dict[str, int]:
        """Named ports of all its containers."""
        return {name: number for container in self.containers for name, number in container.ports.items()}

    def asks_for(self, resource: str) -> Fraction:
        """Return what all its containers ask for together, or the one of those that prepare it that asks most."""
        together = sum((one.asks_for(resource) for one in self.containers), Fraction())
        return max([together, *(one.asks_for(resource) for one in self.all_containers if one.is_init)])

    @property
    def volumes(self) -> dict[str, Document]:
        """By name; of a claim template, the claim that is made of it."""
        made = {name: {"persistentVolumeClaim": {"claimName": name}} for name in self.claims}
        return made | {volume["name"]: volume for volume in self.spec.get("volumes", [])}


def pods_of(document: Document) -> Iterator[Pod]:
    """Yield the pods that an object makes: one kind of them, or none."""
    kind, metadata, spec = document["kind"], document["metadata"], document.get("spec", {})
    if kind == "Pod":
        template, count = document, 1
    elif kind == "CronJob":
        spec = spec["jobTemplate"]["spec"]
        template, count = spec["template"], spec.get("completions", 1)
    elif kind in {"Deployment", "StatefulSet", "DaemonSet", "Job"}:
        template, count = spec["template"], spec.get("replicas", spec.get("completions", 1))
    else:
        return
    yield Pod(
        maker=f"{kind}/{metadata['name']}",
        namespace=metadata.get("namespace", "default"),
        labels=template.get("metadata", {}).get("labels", {}),
        spec=template["spec"],
        count=count,
        claims=tuple(claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])),
    )
