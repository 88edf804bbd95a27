"""Probes ask over the network, and one answer alone does not always decide."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable

import pytest
import trustme

from tests.infra.kubernetes.cluster.pod_spec import Container, Probe
from tests.infra.kubernetes.cluster.probes import Kind, Prober, ProbeTarget, probe_target


@contextlib.asynccontextmanager
async def _answering(statuses: Iterable[int], context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Answer each request with the next status, and those that come after the last one with it; yield the port."""
    waiting = list(statuses)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        writer.write(f"HTTP/1.1 {status} said\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _said(target: ProbeTarget, count: int, kind: Kind = "readiness") -> list[bool]:
    """Return the first so many changes that a probe finds."""
    said: asyncio.Queue[bool] = asyncio.Queue()
    prober = Prober(lambda _, ready: said.put_nowait(ready))
    prober.probe({("pod", "container", 1, kind): target})
    changes = [await said.get() for _ in range(count)]
    prober.probe({})
    return changes


def _probe(port: int, *, failures: int = 1, scheme: str = "HTTP") -> ProbeTarget:
    asked = {"path": "/readyz", "port": port, "scheme": scheme}
    probe = Probe.model_validate({"httpGet": asked, "periodSeconds": 0, "failureThreshold": failures})
    return ProbeTarget("127.0.0.1", port, probe)


def test_a_server_is_ready_when_it_says_so_whoever_vouches_for_it() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("another.example").configure_cert(context)

    async def test() -> list[bool]:
        async with _answering([503, 404, 200], context) as port:
            return await _said(_probe(port, scheme="HTTPS"), 1)

    assert asyncio.run(test()) == [True]


@pytest.mark.parametrize(("failures", "expected"), [(1, [True, False, True, False]), (2, [True, False])])
def test_failures_in_a_row_decide(failures: int, expected: list[bool]) -> None:
    async def test() -> list[bool]:
        async with _answering([200, 500, 200, 500]) as port:
            return await _said(_probe(port, failures=failures), len(expected))

    assert asyncio.run(test()) == expected


@pytest.mark.parametrize(
    ("kind", "statuses", "expected"),
    [
        ("startup", [500, 500, 200], [False, True]),
        ("startup", [500, 200], [True]),
        ("liveness", [200, 500, 200, 500], [False]),
    ],
)
def test_only_what_changes_is_told(kind: Kind, statuses: list[int], expected: list[bool]) -> None:
    async def test() -> list[bool]:
        async with _answering(statuses) as port:
            return await _said(_probe(port, failures=2), len(expected), kind)

    assert asyncio.run(test()) == expected


def test_a_probe_that_only_connects_needs_somebody_who_listens() -> None:
    async def test() -> list[bool]:
        async with _answering([500]) as port:
            probe = Probe.model_validate({"tcpSocket": {"port": port}, "periodSeconds": 0})
            return await _said(ProbeTarget("127.0.0.1", port, probe), 1)

    assert asyncio.run(test()) == [True]


def test_a_port_is_found_by_its_name() -> None:
    container = {
        "name": "server",
        "image": "image",
        "ports": [{"name": "https", "containerPort": 5000}],
        "readinessProbe": {"httpGet": {"port": "https"}},
    }

    probe = Probe.model_validate(container["readinessProbe"])

    assert probe_target(Container.model_validate(container), probe, "10.244.0.2").port == 5000
    with pytest.raises(ValueError, match="no port https"):
        probe_target(Container.model_validate({**container, "ports": []}), probe, "10.244.0.2")
