"""Addresses: of pods, on a bridge; of Services, on the node; and the names by which pods find them."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator, Mapping

from tests.infra.containers.podman import Podman
from tests.infra.kubernetes.cluster.objects import Objects, Service
from tests.infra.kubernetes.cluster.pods import Pod
from tests.infra.kubernetes.cluster.probes import port_number
from tests.infra.kubernetes.cluster.proxy import Address

NODE = "10.244.0.1"
_BRIDGE = "cluster"
_START = f"""
ip link add {_BRIDGE} type bridge
ip addr add {NODE}/16 dev {_BRIDGE}
ip link set {_BRIDGE} up
mount --bind "$1" /etc/hosts
"""
_ATTACH = f"""
podman pod start "$1" >/dev/null
process=$(podman container inspect --format '{{{{.State.Pid}}}}' "$1.network")
ip link add "$2" type veth peer name eth0 netns "$process"
ip link set "$2" master {_BRIDGE} up
nsenter --target="$process" --net -- ip addr add "$3/16" dev eth0
nsenter --target="$process" --net -- ip link set eth0 up
nsenter --target="$process" --net -- ip route add default via {NODE}
"""
_LISTEN = 'for address; do ip addr replace "$address/32" dev lo; done'
_LOCALHOST = "127.0.0.1 localhost\n::1 localhost\n"
# A name that is not in the file of hosts is known to nobody, and that is said at once.
_RESOLVER = "options timeout:1 attempts:1\n"


class Network:
    """Who has which address, and the devices that make it so.

    Parameters
    ----------
    podman : Podman
        In whose network all of it lies; it ends with that.
    """

    def __init__(self, podman: Podman) -> None:
        self._podman = podman
        self._numbers = itertools.count(2)
        self._services: dict[str, str] = {}
        self.addresses: dict[str, str] = {}
        """The address of each pod that was made."""

        self.hosts = podman.folder / "hosts"
        """A file of hosts with all Services, by all their names; pods see it change."""

        self.resolver = podman.folder / "resolv.conf"

    def start(self) -> None:
        """Make the bridge, and have whatever runs in there find Services by their names."""
        self.hosts.write_text(_LOCALHOST)
        self.resolver.write_text(_RESOLVER)
        self._run(_START, str(self.hosts))

    def give_addresses(self, objects: Objects) -> None:
        """Give Services that are new an address of the node's, and names."""
        for service in objects.all(Service):
            name, qualified = service.metadata.name, f"{service.metadata.name}.{service.metadata.namespace}"
            if name not in self._services:
                self._services[name] = f"10.96.0.{len(self._services) + 1}"
                with self.hosts.open("a") as file:
                    names = f"{name} {qualified} {qualified}.svc {qualified}.svc.cluster.local"
                    file.write(f"{self._services[name]} {names}\n")
        self._run(_LISTEN, *self._services.values())

    def attach(self, pod: Pod) -> None:
        """Start a pod's network, on the bridge; with the pod it is gone."""
        number = next(self._numbers)
        address = f"10.244.{number // 256}.{number % 256}"
        self._run(_ATTACH, pod.name, f"pod{number}", address)
        self.addresses[pod.name] = address

    def links(self, objects: Objects) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
        """Yield the name of each Service, its address and ports."""
        for service in objects.all(Service):
            name = service.metadata.name
            yield name, (self._services[name], tuple(port.port for port in service.spec.ports))

    def routes(self, objects: Objects, endpoints: Mapping[str, list[Pod]]) -> dict[Address, list[Address]]:
        """Return where connections to each address and port of a Service go."""
        routes: dict[Address, list[Address]] = {}
        for service in objects.all(Service):
            name = service.metadata.name
            for port in service.spec.ports:
                wanted = port.port if port.target_port is None else port.target_port
                targets = [(self.addresses[pod.name], pod_port(pod, wanted)) for pod in endpoints[name]]
                routes[self._services[name], port.port] = targets
                if port.node_port is not None:
                    routes[NODE, port.node_port] = targets
        return routes

    def _run(self, script: str, *words: str) -> None:
        subprocess.run(
            self._podman.inside("sh", "-euc", script, "sh", *words), env=self._podman.environment, check=True
        )


def pod_port(pod: Pod, wanted: int | str) -> int:
    """Return a port of a pod, which may be given by its name.

    Raises
    ------
    ValueError
        No container of it has a port of that name.
    """
    for container in pod.spec.containers:
        if isinstance(wanted, int) or any(port.name == wanted for port in container.ports):
            return port_number(container, wanted)
    raise ValueError(f"pod {pod.name} has no port {wanted}")
