"""NetworkPolicies allow the connections of these tables, and no other, whoever asks.

What enforces them is the cluster's; here it is computed what they say.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.infra.kubernetes.kustomize import FOLDER, built
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.neighbours import DNS, NAMESPACE, OUTSIDE, POD_IDENTITY, PUBLIC, STRANGER
from tests.infra.kubernetes.network import Edge, edges
from tests.infra.kubernetes.pods import Document

_MASTER, _WORKER, _CLIENT, _S3 = "master-aggregator", "worker-aggregator", "clients", "s3"
EVERYWHERE: Final = {
    Edge(_CLIENT, _WORKER, "TCP 5001"),
    Edge(_WORKER, _MASTER, "TCP 5000"),
    Edge(_CLIENT, PUBLIC.name, "TCP 443"),  # MNIST
    # From outside, through node port or load balancer, with whatever address those show; tokens say who it is.
    *(Edge(end.name, _WORKER, "TCP 5001") for end in OUTSIDE),
    *(
        Edge(name, DNS.name, port)
        for name in (_MASTER, _WORKER, _CLIENT, STRANGER.name)
        for port in ("TCP 53", "UDP 53")
    ),
}
TABLES: Final = {
    "minikube": EVERYWHERE
    | {Edge(_MASTER, _S3, "TCP 8333"), *(Edge(_S3, DNS.name, port) for port in ("TCP 53", "UDP 53"))},
    "eks": EVERYWHERE
    | {Edge(_MASTER, PUBLIC.name, "TCP 443"), Edge(_MASTER, POD_IDENTITY.name, "TCP 80")},
}  # fmt: skip


def allowed(manifests: Manifests) -> set[Edge]:
    return edges(manifests, [STRANGER, *OUTSIDE], NAMESPACE)


def test_exactly_the_connections_of_the_table_are_allowed(overlay: str, manifests: Manifests) -> None:
    found = allowed(manifests)
    assert (found - TABLES[overlay], TABLES[overlay] - found) == (set(), set())


def without(manifests: Manifests, name: str) -> Manifests:
    """Return them without one policy."""
    return Manifests(tuple(one for one in manifests.objects if one["metadata"]["name"] != name))


def with_rule(manifests: Manifests, direction: str, rule: Document, **selector: object) -> Manifests:
    """Return them with one more policy."""
    spec = {"podSelector": selector, "policyTypes": [direction], direction.lower(): [rule]}
    more = {"kind": "NetworkPolicy", "metadata": {"name": "more", "namespace": NAMESPACE}, "spec": spec}
    return Manifests((*manifests.objects, more))


@pytest.fixture(scope="module")
def eks() -> Manifests:
    """One of the overlays, for small changes."""
    return Manifests.parse(built(FOLDER / "overlays" / "eks"))


@pytest.fixture(scope="module")
def free(eks: Manifests) -> Manifests:
    """That overlay without any policy."""
    return Manifests(tuple(one for one in eks.objects if one["kind"] != "NetworkPolicy"))


def test_where_no_policy_is_everything_may_be_reached(free: Manifests) -> None:
    assert Edge(STRANGER.name, _MASTER, "TCP 1-65535") in allowed(free)
    assert Edge(_MASTER, "the instance's metadata", "UDP 1-65535") in allowed(free)


def test_denying_all_leaves_nothing(free: Manifests) -> None:
    deny = {"kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": NAMESPACE}}
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert allowed(Manifests((*free.objects, {**deny, "spec": spec}))) == set()


def test_a_connection_needs_the_leave_of_both_ends(eks: Manifests) -> None:
    both = Edge(_CLIENT, _WORKER, "TCP 5001")
    assert both in allowed(eks)
    assert both not in allowed(without(eks, "client"))
    closed = without(without(eks, "worker-aggregator-outside"), "worker-aggregator")
    assert both not in allowed(closed)


def test_without_the_default_the_master_is_free_to_go_anywhere(eks: Manifests) -> None:
    assert Edge(STRANGER.name, _MASTER, "TCP 5000") not in allowed(eks)
    assert Edge(STRANGER.name, PUBLIC.name, "TCP 1-65535") in allowed(without(without(eks, "default-deny"), "dns"))


@pytest.mark.parametrize(
    ("rule", "edge"),
    [
        ({}, Edge(_MASTER, PUBLIC.name, "TCP 1-65535")),
        ({"ports": [{"port": 22}]}, Edge(_MASTER, "a pod elsewhere", "TCP 22")),
        ({"to": [{"ipBlock": {"cidr": "169.254.0.0/16"}}]}, Edge(_MASTER, "the instance's metadata", "UDP 1-65535")),
        ({"to": [{"namespaceSelector": {}}]}, Edge(_MASTER, "a pod elsewhere", "TCP 1-65535")),
        ({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 5001}]}, Edge(_MASTER, _WORKER, "TCP 5001")),
        (
            {"to": [{"ipBlock": {"cidr": "192.168.0.0/16"}}], "ports": [{"port": 30000, "endPort": 32767}]},
            Edge(_MASTER, "a node", "TCP 30000-32767"),
        ),
        ({"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "UDP"}]}, Edge(_MASTER, DNS.name, "UDP 1-65535")),
    ],
)
def test_what_a_policy_too_many_allows_is_seen(rule: Document, edge: Edge, eks: Manifests) -> None:
    opened = with_rule(eks, "Egress", rule, matchLabels={"app.kubernetes.io/component": "master-aggregator"})
    assert edge in allowed(opened) - TABLES["eks"]


def test_a_block_of_addresses_does_not_hold_for_what_it_leaves_out(free: Manifests) -> None:
    everywhere_but = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}
    found = allowed(with_rule(free, "Egress", {"to": [everywhere_but]}))
    assert Edge(_CLIENT, PUBLIC.name, "TCP 1-65535") in found
    assert not [edge for edge in found if edge.target == "the instance's metadata"]


def test_a_port_that_the_pod_does_not_name_is_no_port(free: Manifests) -> None:
    found = allowed(with_rule(free, "Ingress", {"ports": [{"port": "http"}]}))
    assert not [edge for edge in found if edge.target == _MASTER]
