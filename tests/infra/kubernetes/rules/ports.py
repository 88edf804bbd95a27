"""Ports that are named exist, under one number only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.infra.kubernetes.manifests import Manifests, namespace_of, where
from tests.infra.kubernetes.pods import Container


def service_ports_lead_to_ports_of_the_pods(manifests: Manifests) -> Iterator[str]:
    """A Service's target port is one that the selected pods declare."""
    for service in manifests.of("Service"):
        selector = {"matchLabels": service["spec"].get("selector") or {}}
        pods = [manifests.pods_of(name) for name in manifests.selected(selector, namespace_of(service))]
        for port in service["spec"].get("ports", []):
            target = port.get("targetPort", port["port"])
            for pod in pods:
                if target not in (pod.ports if isinstance(target, str) else pod.ports.values()):
                    yield f"{where(service)} leads to port {target!r}, which {pod.maker} does not have"


def probes_ask_ports_of_their_container(manifests: Manifests) -> Iterator[str]:
    """A probe asks a port that its own container declares."""
    for pod in manifests.pods:
        for container in pod.all_containers:
            for kind, probe in container.probes:
                yield from _asked(container, kind, probe.get("httpGet") or probe.get("tcpSocket") or {})


def names_of_ports_are_unique_in_a_pod(manifests: Manifests) -> Iterator[str]:
    """No two ports of a pod have one name, or one number."""
    for pod in manifests.pods:
        ports = [port for container in pod.containers for port in container.spec.get("ports", [])]
        for key in ("name", "containerPort"):
            seen = Counter(port[key] for port in ports if key in port)
            yield from (f"{pod.maker} has port {value!r} twice" for value, times in seen.items() if times > 1)


def what_a_service_sends_to_has_a_readiness_probe(manifests: Manifests) -> Iterator[str]:
    """Without a probe, a Service that waits for pods to be ready sends to them before they are."""
    for service in manifests.of("Service"):
        if service["spec"].get("publishNotReadyAddresses"):
            continue
        selector = {"matchLabels": service["spec"].get("selector") or {}}
        for name in manifests.selected(selector, namespace_of(service)):
            if not any("readinessProbe" in one.spec for one in manifests.pods_of(name).containers):
                yield f"{where(service)} sends to pods of {name}, which are ready before their time"


def _asked(container: Container, kind: str, action: dict[str, object]) -> Iterator[str]:
    port = action.get("port")
    if port is not None and port not in (container.ports if isinstance(port, str) else container.ports.values()):
        yield f"{container.where}, {kind} asks port {port!r}, which it does not have"
