"""Addresses that programs are told are those of Services, and lead to pods as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tests.infra.kubernetes.manifests import Manifests, namespace_of, where
from tests.infra.kubernetes.pods import Document

_IN_CLUSTER: Final = re.compile(
    r"https?://(?P<name>[a-z0-9-]+)(?:\.[a-z0-9-]+(?:\.svc(?:\.cluster\.local)?))?(?::(?P<port>[0-9]+))?(?:/|$)"
)
"""Of hosts elsewhere, the names have other ends."""


def names_of_hosts_are_services(manifests: Manifests) -> Iterator[str]:
    """A URL of a host in the cluster, anywhere in the variables, names a Service and one of its ports."""
    for holder, url, service, port in _asked(manifests):
        if service is None or port not in [one["port"] for one in service["spec"]["ports"]]:
            yield f"{holder} names {url}, which is no port of a Service"


def services_for_pods_have_the_ports_of_the_pods(manifests: Manifests) -> Iterator[str]:
    """A Service that pods ask has the number of its pods' port.

    The network policies of Amazon's VPC CNI are in force before a Service's port becomes that of a pod.
    """
    for _, url, service, port in _asked(manifests):
        if service is None:
            continue
        for one in service["spec"]["ports"]:
            target = one.get("targetPort", port)
            for name in manifests.selected({"matchLabels": service["spec"]["selector"]}, namespace_of(service)):
                number = manifests.pods_of(name).ports.get(target) if isinstance(target, str) else target
                if one["port"] == port and number != port:
                    yield f"{where(service)}, asked at {url}, leads to port {number}"


def _asked(manifests: Manifests) -> Iterator[tuple[str, str, Document | None, int]]:
    """Yield who is told an address of the cluster, the address, its Service, and the port."""
    for holder, url in _urls(manifests):
        found = _IN_CLUSTER.match(url)
        if found:
            yield holder, url, manifests.named("Service", found["name"]), int(found["port"] or 443)


def _urls(manifests: Manifests) -> Iterator[tuple[str, str]]:
    for one in manifests.of("ConfigMap"):
        for value in (one.get("data") or {}).values():
            if "://" in value and "\n" not in value:
                yield where(one), value
    for pod in manifests.pods:
        for container in pod.all_containers:
            for variable in container.spec.get("env", []):
                if "://" in str(variable.get("value", "")):
                    yield container.where, variable["value"]
