"""Readiness probes, asked as the kubelet does: over the network, and of a server with TLS whoever it says it is."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.infra.kubernetes.cluster.pod_spec import Container, HttpGet, Probe

ProbeKey = tuple[str, str, int]
"""The names of a pod and of a container of it, and which of its runs is meant."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")
_ASKED_UNTIL_READY = 1.0
"""Seconds between probes of what has not been ready yet: whoever waits for it need not wait for a whole period."""


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """A probe, and whom it asks."""

    address: str
    port: int
    probe: Probe


def probe_target(container: Container, address: str) -> ProbeTarget:
    """Return what is to be asked of a container with a readiness probe.

    Raises
    ------
    ValueError
        The probe's port is none of the container's.
    """
    probe = container.readiness_probe
    assert probe is not None
    asked = probe.http_get or probe.tcp_socket
    if asked is None:
        raise ValueError(f"container {container.name} is probed neither by HTTP nor by TCP")
    return ProbeTarget(address, port_number(container, asked.port), probe)


def port_number(container: Container, port: int | str) -> int:
    """Return a port of a container, which may be given by its name."""
    if isinstance(port, int):
        return port
    for one in container.ports:
        if one.name == port:
            return one.container_port
    raise ValueError(f"container {container.name} has no port {port}")


class Prober:
    """Asks probes within a running event loop, and says what changes.

    Parameters
    ----------
    say : callable
        Called with a probe's key, and whether the container is ready now.
    """

    def __init__(self, say: Callable[[ProbeKey, bool], None]) -> None:
        self._say = say
        self._tasks: dict[ProbeKey, asyncio.Task[None]] = {}

    def probe(self, targets: Mapping[ProbeKey, ProbeTarget]) -> None:
        """Ask these from now on, and no others."""
        for key in self._tasks.keys() - targets.keys():
            self._tasks.pop(key).cancel()
        for key in targets.keys() - self._tasks.keys():
            self._tasks[key] = asyncio.create_task(self._watch(key, targets[key]))

    async def _watch(self, key: ProbeKey, target: ProbeTarget) -> None:
        probe, is_ready, was_ready, in_a_row = target.probe, False, False, 0
        await asyncio.sleep(probe.initial_delay_seconds)
        while True:
            answered = await _is_answered(target)
            in_a_row = in_a_row + 1 if answered != is_ready else 0
            if in_a_row >= (probe.failure_threshold if is_ready else probe.success_threshold):
                is_ready, in_a_row = answered, 0
                was_ready = was_ready or is_ready
                self._say(key, is_ready)
            await asyncio.sleep(probe.period_seconds if was_ready else min(_ASKED_UNTIL_READY, probe.period_seconds))


async def _is_answered(target: ProbeTarget) -> bool:
    try:
        async with asyncio.timeout(target.probe.timeout_seconds):
            if target.probe.http_get is not None:
                return await _get(target, target.probe.http_get)
            _, writer = await asyncio.open_connection(target.address, target.port)
            writer.close()
            return True
    except (OSError, TimeoutError, EOFError):
        return False


async def _get(target: ProbeTarget, wanted: HttpGet) -> bool:
    context = _believing() if wanted.scheme == "HTTPS" else None
    reader, writer = await asyncio.open_connection(target.address, target.port, ssl=context)
    try:
        host = f"{target.address}:{target.port}"
        head = f"GET {wanted.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kube-probe\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        found = _STATUS.match(await reader.readline())
        return found is not None and 200 <= int(found[1]) < 400
    finally:
        writer.close()


def _believing() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
