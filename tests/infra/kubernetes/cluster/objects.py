"""What is applied to the cluster: objects that something comes of, and kinds that nothing does, with the reason."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field

from tests.infra.kubernetes.cluster.fields import NotApplied, Read
from tests.infra.kubernetes.cluster.pod_spec import PodSpec

NOTHING_COMES_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Namespace": "there is one; its labels say what pods may be, which the static tests hold them against",
        "NetworkPolicy": "there is no firewall; the static tests say what it allows, verify-cluster.sh tries it",
        "PodDisruptionBudget": "nobody drains the one node",
        "PriorityClass": "there is room for all pods",
        "ServiceAccount": "there is no API to be somebody at",
        "StorageClass": "every claim is a folder",
    }
)
"""Kinds that are read and left."""

_NO_METRICS = "there are no metrics to scale by; verify-cluster.sh sees whether a real cluster does"
_ONE_ROLLOUT = "the tests start from nothing, and roll nothing out"
_Object = TypeVar("_Object", bound="Manifest")


class Metadata(Read):
    """What an object is called."""

    name: str
    namespace: str = "default"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: Annotated[Any, NotApplied("whoever removes an owner here removes what it owns")] = None
    creation_timestamp: None = None
    """Where kubectl prints objects, it has a place for it."""


class TemplateMetadata(Read):
    """What pods of a template are called; their names are made for each."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Manifest(Read):
    """An object."""

    api_version: str
    kind: str
    metadata: Metadata


class PodTemplate(Read):
    """What a workload's pods are to be."""

    metadata: TemplateMetadata = TemplateMetadata()
    spec: PodSpec


class Selector(Read):
    """Which pods are meant."""

    match_labels: dict[str, str]


class Deployment(Manifest):
    """So many pods that are alike."""

    class Spec(Read):
        """Its wishes."""

        replicas: int | None = None
        selector: Selector
        template: PodTemplate
        strategy: Annotated[Any, NotApplied(_ONE_ROLLOUT)] = None
        min_ready_seconds: Annotated[int, NotApplied(_ONE_ROLLOUT)] = 0
        revision_history_limit: Annotated[int, NotApplied(_ONE_ROLLOUT)] = 10
        progress_deadline_seconds: Annotated[int, NotApplied(_ONE_ROLLOUT)] = 600

    spec: Spec


class Autoscaler(Manifest):
    """How many pods a Deployment has."""

    class Spec(Read):
        """Its wishes."""

        scale_target_ref: dict[str, str]
        min_replicas: int
        max_replicas: Annotated[int, NotApplied(_NO_METRICS)]
        metrics: Annotated[Any, NotApplied(_NO_METRICS)] = None
        behavior: Annotated[Any, NotApplied(_NO_METRICS)] = None

    spec: Spec


class ClaimTemplate(Read):
    """A volume that each pod of a StatefulSet gets."""

    api_version: str = "v1"
    kind: str = "PersistentVolumeClaim"
    metadata: Metadata
    """Its name is what the pod calls the volume."""

    spec: Annotated[Any, NotApplied("every claim is a folder")]


class Claim(Manifest):
    """A volume that outlives pods."""

    spec: Annotated[Any, NotApplied("every claim is a folder")]


class StatefulSet(Manifest):
    """So many pods with names and volumes of their own."""

    class Spec(Read):
        """Its wishes."""

        replicas: int = 1
        selector: Selector
        template: PodTemplate
        service_name: str = ""
        volume_claim_templates: tuple[ClaimTemplate, ...] = ()

    spec: Spec


class ExitCodes(Read):
    """Statuses of a container that a rule is about."""

    operator: Literal["In", "NotIn"]
    values: tuple[int, ...]
    container_name: str | None = None


class PodCondition(Read):
    """A condition of a failed pod that a rule is about."""

    type: str
    status: str = "True"


class FailureRule(Read):
    """What comes of a failed pod."""

    action: Literal["Ignore", "FailJob", "FailIndex", "Count"]
    on_exit_codes: ExitCodes | None = None
    on_pod_conditions: tuple[PodCondition, ...] = ()


class FailurePolicy(Read):
    """The first rule that is about a failed pod counts."""

    rules: tuple[FailureRule, ...] = ()


class Job(Manifest):
    """So many pods that each end well once."""

    class Spec(Read):
        """Its wishes."""

        completion_mode: Literal["Indexed", "NonIndexed"] = "NonIndexed"
        completions: int = Field(1, gt=0)
        parallelism: int = Field(1, gt=0)
        backoff_limit: int = 6
        backoff_limit_per_index: int | None = None
        max_failed_indexes: int | None = None
        pod_failure_policy: FailurePolicy = FailurePolicy()
        template: PodTemplate
        pod_replacement_policy: Annotated[str, NotApplied("a pod is replaced when it has failed")] = ""

    spec: Spec


class ServicePort(Read):
    """A port of a Service, and that of its pods."""

    name: str = ""
    port: int
    target_port: int | str | None = None
    node_port: int | None = None
    protocol: Literal["TCP"] = "TCP"


class Service(Manifest):
    """An address for those of some pods that are ready."""

    class Spec(Read):
        """Its wishes."""

        type: Literal["ClusterIP", "NodePort"] = "ClusterIP"
        selector: dict[str, str]
        ports: tuple[ServicePort, ...]
        publish_not_ready_addresses: bool = False

    spec: Spec


class ConfigMap(Manifest):
    """Settings."""

    data: dict[str, str] = Field(default_factory=dict)
    immutable: bool = False

    @property
    def contents(self) -> dict[str, bytes]:
        """What each key holds."""
        return {key: value.encode() for key, value in self.data.items()}


class Secret(Manifest):
    """Secrets, in base64."""

    data: dict[str, str] = Field(default_factory=dict, repr=False)
    type: str = "Opaque"
    immutable: bool = False

    @property
    def contents(self) -> dict[str, bytes]:
        """What each key holds."""
        return {key: base64.b64decode(value, validate=True) for key, value in self.data.items()}


KINDS: Final[Mapping[str, type[Manifest]]] = MappingProxyType(
    {
        "ConfigMap": ConfigMap,
        "Deployment": Deployment,
        "HorizontalPodAutoscaler": Autoscaler,
        "Job": Job,
        "PersistentVolumeClaim": Claim,
        "Secret": Secret,
        "Service": Service,
        "StatefulSet": StatefulSet,
    }
)


@dataclass(frozen=True, slots=True)
class Objects:
    """All that was applied, by kind and name, of one namespace."""

    held: Mapping[tuple[str, str], Manifest]

    @classmethod
    def of(cls, documents: Iterable[Mapping[str, Any]]) -> Objects:
        """Read documents; a kind that is not known is an error, as an unknown field is.

        Raises
        ------
        ValueError
        """
        held: dict[tuple[str, str], Manifest] = {}
        for document in documents:
            kind = document["kind"]
            if kind in NOTHING_COMES_OF:
                continue
            if kind not in KINDS:
                raise ValueError(f"this cluster knows no {kind}; it knows {', '.join(sorted(KINDS))}")
            found = KINDS[kind].model_validate(document)
            held[kind, found.metadata.name] = found
        if len(names := {found.metadata.namespace for found in held.values()}) > 1:
            raise ValueError(f"objects lie in several namespaces, {', '.join(sorted(names))}; this cluster has one")
        return cls(held)

    def all(self, kind: type[_Object]) -> list[_Object]:
        """Return the objects of a kind."""
        return [found for found in self.held.values() if isinstance(found, kind)]

    def get(self, kind: type[_Object], name: str) -> _Object | None:
        """Return an object, where there is one."""
        return next((found for found in self.all(kind) if found.metadata.name == name), None)

    def replicas(self, deployment: Deployment) -> int:
        """Return how many pods a Deployment has: an autoscaler's number goes before its own."""
        for scaler in self.all(Autoscaler):
            if scaler.spec.scale_target_ref["name"] == deployment.metadata.name:
                return scaler.spec.min_replicas
        return 1 if deployment.spec.replicas is None else deployment.spec.replicas
