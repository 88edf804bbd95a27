"""Who may connect to whom, computed from NetworkPolicies as Kubernetes defines them.

A pod that no policy of a direction selects is free in that direction; one that some select may do what any of them
allows. A connection needs the leave of both its ends. Pods have addresses too, and blocks of addresses are taken to
hold for them, as most network plugins do it. Source: kubernetes.io/docs/concepts/services-networking/network-policies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.infra.kubernetes.manifests import Manifests, matches, namespace_of
from tests.infra.kubernetes.pods import Document

_NAME_LABEL: Final = "kubernetes.io/metadata.name"
_LAST: Final = 65535


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of one protocol, from the first to the last."""

    protocol: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.protocol} {self.first}" + (f"-{self.last}" if self.last > self.first else "")


_EVERY_PORT: Final = frozenset(Ports(protocol, 1, _LAST) for protocol in ("TCP", "UDP", "SCTP"))


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection.

    Parameters
    ----------
    name : str
    address : str
    namespace : str or None
        None is beyond the cluster, where no labels are.
    labels : Mapping of str to str
    ports : Mapping of str to int
        Those that have names.
    """

    name: str
    address: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """Leave to connect."""

    source: str
    target: str
    port: str


def pods_as_ends(manifests: Manifests) -> list[End]:
    """Return the pods of the manifests, each with an address of its own in the cluster's network."""
    return [
        End(pod.name, f"10.244.0.{number}", pod.namespace, pod.labels, pod.ports)
        for number, pod in enumerate(manifests.pods, start=10)
    ]


def edges(manifests: Manifests, others: list[End], namespace: str) -> set[Edge]:
    """Return every connection that is allowed from or to a namespace of the manifests.

    Parameters
    ----------
    manifests : Manifests
        With the policies.
    others : list of End
        Who else there is, in the cluster and beyond.
    namespace : str
        Connections between two ends that both lie elsewhere are nobody's here to allow.
    """
    policies = manifests.of("NetworkPolicy")
    ends = [*pods_as_ends(manifests), *others]
    return {
        Edge(source.name, target.name, str(ports))
        for source in ends
        for target in ends
        if source != target and namespace in (source.namespace, target.namespace)
        for ports in _allowed(source, target, policies)
    }


def _allowed(source: End, target: End, policies: list[Document]) -> frozenset[Ports]:
    going = _leave("Egress", source, target, target, policies)
    coming = _leave("Ingress", target, source, target, policies)
    return frozenset(_overlaps(going, coming))


def _leave(direction: str, own: End, peer: End, target: End, policies: list[Document]) -> frozenset[Ports]:
    """Return the target's ports for which one end's policies allow a connection with the other."""
    key, side = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    governing = [policy for policy in policies if _governs(policy, direction, own)]
    if not governing:
        return _EVERY_PORT
    found: set[Ports] = set()
    for policy in governing:
        for rule in policy["spec"].get(key) or []:
            peers = rule.get(side)
            if not peers or any(_is_peer(one, peer, namespace_of(policy)) for one in peers):
                found |= set(_ports(rule, target))
    return frozenset(found)


def _governs(policy: Document, direction: str, end: End) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    return direction in types and end.namespace == namespace_of(policy) and matches(spec["podSelector"], end.labels)


def _is_peer(wanted: Mapping[str, Any], end: End, namespace: str) -> bool:
    if "ipBlock" in wanted:
        address = ipaddress.ip_address(end.address)
        without = wanted["ipBlock"].get("except") or []
        inside = address in ipaddress.ip_network(wanted["ipBlock"]["cidr"])
        return inside and not any(address in ipaddress.ip_network(block) for block in without)
    if end.namespace is None:
        return False
    if "namespaceSelector" in wanted:
        near = matches(wanted["namespaceSelector"] or {}, {_NAME_LABEL: end.namespace})
    else:
        near = end.namespace == namespace
    return near and matches(wanted.get("podSelector") or {}, end.labels)


def _ports(rule: Mapping[str, Any], target: End) -> Iterator[Ports]:
    if not rule.get("ports"):
        yield from _EVERY_PORT
    for one in rule.get("ports") or []:
        protocol, port = one.get("protocol", "TCP"), one.get("port")
        if isinstance(port, str):
            port = target.ports.get(port)
            if port is None:
                continue
        yield Ports(protocol, port or 1, one.get("endPort", port or _LAST))


def _overlaps(some: frozenset[Ports], others: frozenset[Ports]) -> Iterator[Ports]:
    for one in some:
        for other in others:
            first, last = max(one.first, other.first), min(one.last, other.last)
            if one.protocol == other.protocol and first <= last:
                yield Ports(one.protocol, first, last)
