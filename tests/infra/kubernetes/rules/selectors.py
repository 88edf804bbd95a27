"""Selectors match the pods that they are meant for, all of them, and no others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.infra.kubernetes.manifests import Manifests, namespace_of, where
from tests.infra.kubernetes.pods import Document, Pod

_MEANT: Final = {
    "Service/tensorboard": "master-aggregator",  # it is a container of the master's pod
    "Service/worker-aggregator-outside": "worker-aggregator",
}
"""Whose pods are meant where those of another name are."""
_SETS: Final = ("Deployment", "StatefulSet", "DaemonSet")


def selectors_match_what_they_mean(manifests: Manifests) -> Iterator[str]:
    """Services, disruption budgets and sets of pods select those of the object that has their name."""
    for one in manifests.of("Service", "PodDisruptionBudget", *_SETS):
        selector = _selector(one)
        meant = _MEANT.get(where(one), one["metadata"]["name"])
        found = manifests.selected(selector, namespace_of(one))
        if found != [meant]:
            yield f"{where(one)} selects {found}, and means {meant}"


def spread_counts_the_pods_that_it_spreads(manifests: Manifests) -> Iterator[str]:
    """Topology spread and anti-affinity select the pod that asks for it, and no other."""
    for pod in manifests.pods:
        for what, selector in _own_selectors(pod):
            found = manifests.selected(selector, pod.namespace)
            if found != [pod.name]:
                yield f"{pod.maker}, {what} selects {found} instead of itself"


def policies_select_somebody(manifests: Manifests) -> Iterator[str]:
    """A NetworkPolicy selects pods that there are, and so do its peers of the same namespace."""
    for policy in manifests.of("NetworkPolicy"):
        spec, namespace = policy["spec"], namespace_of(policy)
        selectors = [spec.get("podSelector")]
        for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]:
            peers = [*(rule.get("from") or []), *(rule.get("to") or [])]
            selectors += [peer.get("podSelector") for peer in peers if "namespaceSelector" not in peer]
        for selector in selectors:
            if selector is not None and not manifests.selected(selector, namespace):
                yield f"{where(policy)} selects pods that there are not: {selector}"


def _selector(document: Document) -> Mapping[str, Any] | None:
    selector = document["spec"].get("selector")
    if document["kind"] == "Service":
        return {"matchLabels": selector} if selector else None
    found: Mapping[str, Any] | None = selector
    return found


def _own_selectors(pod: Pod) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    for spread in pod.spec.get("topologySpreadConstraints", []):
        yield f"topology spread over {spread['topologyKey']}", spread.get("labelSelector")
    apart = pod.spec.get("affinity", {}).get("podAntiAffinity", {})
    for term in apart.get("requiredDuringSchedulingIgnoredDuringExecution", []):
        yield "anti-affinity", term.get("labelSelector")
    for term in apart.get("preferredDuringSchedulingIgnoredDuringExecution", []):
        yield "anti-affinity", term["podAffinityTerm"].get("labelSelector")
