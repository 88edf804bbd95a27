"""The Pod Security Standard ``restricted``, as a function of a pod, and what this project asks beyond it.

Source: kubernetes.io/docs/concepts/security/pod-security-standards, which the admission controller of a namespace with
the label ``pod-security.kubernetes.io/enforce: restricted`` applies in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.infra.kubernetes.manifests import Manifests, where
from tests.infra.kubernetes.pods import Container, Document, Pod

_VOLUMES: Final = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"),
}
_SELINUX_TYPES: Final = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SAFE_SYSCTLS: Final = {
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"),
    *("net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
    *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
}
_PROFILES: Final = {"RuntimeDefault", "Localhost"}


def pods_are_restricted(manifests: Manifests) -> Iterator[str]:
    """Every pod meets the standard, and its namespace refuses any that does not."""
    for namespace in manifests.of("Namespace"):
        labels = namespace["metadata"].get("labels", {})
        if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{where(namespace)} does not enforce the standard restricted"
    for pod in manifests.pods:
        if manifests.named("Namespace", pod.namespace) is None:
            yield f"{pod.maker} lies in namespace {pod.namespace}, which there is not"
        yield from _of_pod(pod)
        for container in pod.all_containers:
            yield from _of_container(container, pod.spec.get("securityContext") or {})


def pods_may_do_no_more_than_they_need(manifests: Manifests) -> Iterator[str]:
    """Beyond the standard: a root that nobody writes to, no token of the API, no variable for every Service."""
    for pod in manifests.pods:
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.maker} gets a token for the API of Kubernetes"
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.maker} gets variables of every Service"
        for container in pod.all_containers:
            if (container.spec.get("securityContext") or {}).get("readOnlyRootFilesystem") is not True:
                yield f"{container.where} may write to its root"
    for account in manifests.of("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"{where(account)} gives tokens for the API of Kubernetes"


def _of_pod(pod: Pod) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(field):
            yield f"{pod.maker} has {field}"
    for name, volume in pod.volumes.items():
        for kind in volume.keys() - {"name"} - _VOLUMES:
            yield f"{pod.maker}, volume {name} is a {kind}"
    context = pod.spec.get("securityContext") or {}
    for sysctl in context.get("sysctls") or []:
        if sysctl["name"] not in _SAFE_SYSCTLS:
            yield f"{pod.maker} sets {sysctl['name']}"
    yield from _of_context(pod.maker, context)


def _of_container(container: Container, of_pod: Document) -> Iterator[str]:
    own = container.spec.get("securityContext") or {}
    yield from _of_context(container.where, own)
    if own.get("privileged"):
        yield f"{container.where} is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{container.where} may gain privileges"
    if own.get("procMount", "Default") != "Default":
        yield f"{container.where} sees all of /proc"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield f"{container.where} keeps capabilities"
    if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"{container.where} is given capabilities"
    if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
        yield f"{container.where} may run as root"
    if own.get("runAsUser", of_pod.get("runAsUser")) == 0:
        yield f"{container.where} runs as root"
    profile = own.get("seccompProfile") or of_pod.get("seccompProfile") or {}
    if profile.get("type") not in _PROFILES:
        yield f"{container.where} has no seccomp profile"
    if any(port.get("hostPort") for port in container.spec.get("ports", [])):
        yield f"{container.where} has a port of the host"
    yield from _hosts_asked(container)


def _of_context(what: str, context: Document) -> Iterator[str]:
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{what} is a process of the host"
    armor: dict[str, Any] = context.get("appArmorProfile") or {}
    if armor.get("type", "RuntimeDefault") not in _PROFILES:
        yield f"{what} is not confined by AppArmor"
    linux = context.get("seLinuxOptions") or {}
    if linux.get("type", "") not in _SELINUX_TYPES or linux.get("user") or linux.get("role"):
        yield f"{what} has SELinux options"
    if context.get("seccompProfile", {"type": "RuntimeDefault"}).get("type") not in _PROFILES:
        yield f"{what} has a seccomp profile that is none"


def _hosts_asked(container: Container) -> Iterator[str]:
    """Yield probes and hooks that have the kubelet ask another host than the pod."""
    hooks = container.spec.get("lifecycle") or {}
    actions = [probe for _, probe in container.probes] + list(hooks.values())
    for action in actions:
        if any((action.get(kind) or {}).get("host") for kind in ("httpGet", "tcpSocket")):
            yield f"{container.where} has the kubelet ask another host"
