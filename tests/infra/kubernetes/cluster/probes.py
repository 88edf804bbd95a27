"""Probes, asked as the kubelet does: over the network, and of a server with TLS whoever it says it is."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tests.infra.kubernetes.cluster.pod_spec import Container, HttpGet, Probe

Kind = Literal["startup", "liveness", "readiness"]
ProbeKey = tuple[str, str, int, Kind]
"""The names of a pod and of a container of it, which of its runs is meant, and what is asked for."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")
_ASKED_UNTIL_READY = 1.0
"""Seconds between probes of what has not been ready yet: whoever waits for it need not wait for a whole period."""


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """A probe, and whom it asks."""

    address: str
    port: int
    probe: Probe


def probe_target(container: Container, probe: Probe, address: str) -> ProbeTarget:
    """Return what is to be asked of a container by one of its probes.

    Raises
    ------
    ValueError
        The probe's port is none of the container's.
    """
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
        Called with a probe's key, and whether it succeeds now, whenever that is another than before. At first what is
        asked for is taken to live, and to be neither started nor ready; what does not start is told as a failure.
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
        probe, kind = target.probe, key[-1]
        succeeds = {"startup": None, "liveness": True, "readiness": False}[kind]
        ever, in_a_row, last = kind == "liveness", 0, None
        await asyncio.sleep(probe.initial_delay_seconds)
        while True:
            answered = await _is_answered(target)
            in_a_row, last = (in_a_row + 1 if answered is last else 1), answered
            if answered is not succeeds and in_a_row >= (
                probe.success_threshold if answered else probe.failure_threshold
            ):
                succeeds = answered
                ever = ever or succeeds
                self._say(key, succeeds)
            # To start takes as long as it takes, so that one is asked as often as it says.
            quick = not ever and kind == "readiness"
            await asyncio.sleep(min(_ASKED_UNTIL_READY, probe.period_seconds) if quick else probe.period_seconds)


async def _is_answered(target: ProbeTarget) -> bool:
    try:
        async with asyncio.timeout(target.probe.timeout_seconds):
            if target.probe.http_get is not None:
                return await _get(target, target.probe.http_get)
            _, writer = await asyncio.open_connection(target.address, target.port)
            writer.close()
            return True
    except (OSError, TimeoutError, EOFError, ValueError):  # the last is a line without end
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
