"""Services pass connections on, to each pod in its turn, and to nobody who is not ready."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from tests.infra.kubernetes.cluster.proxy import Address, Proxy


async def _echoing(name: bytes) -> tuple[asyncio.Server, Address]:
    """Start a server that says its name after it has heard everything."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await reader.read()
        writer.write(heard + name)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()


async def _asked(address: Address) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"who are you? ")
    writer.write_eof()
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def _free_address() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address: Address = free.getsockname()
        return address


def _within(test: Callable[[Proxy, Address], Awaitable[None]]) -> None:
    async def run() -> None:
        proxy = Proxy()
        try:
            await test(proxy, _free_address())
        finally:
            proxy.close()

    asyncio.run(run())


def test_connections_go_to_each_in_its_turn() -> None:
    async def test(proxy: Proxy, service: Address) -> None:
        (one, first), (two, second) = await _echoing(b"one"), await _echoing(b"two")
        async with one, two:
            await proxy.route({service: [first, second]})

            answers = [await _asked(service) for _ in range(4)]

        assert answers == [b"who are you? one", b"who are you? two"] * 2

    _within(test)


def test_who_is_not_ready_any_more_gets_nothing() -> None:
    async def test(proxy: Proxy, service: Address) -> None:
        (one, first), (two, second) = await _echoing(b"one"), await _echoing(b"two")
        async with one, two:
            await proxy.route({service: [first, second]})
            await proxy.route({service: [second]})

            assert {await _asked(service) for _ in range(3)} == {b"who are you? two"}

    _within(test)


def test_where_nobody_is_ready_connections_are_closed() -> None:
    async def test(proxy: Proxy, service: Address) -> None:
        await proxy.route({service: []})
        assert await _asked(service) == b""

        await proxy.route({service: [_free_address()]})
        assert await _asked(service) == b""

    _within(test)


def test_where_there_is_no_service_any_more_nobody_listens() -> None:
    async def test(proxy: Proxy, service: Address) -> None:
        await proxy.route({service: []})
        await proxy.route({})

        with pytest.raises(ConnectionRefusedError):
            await _asked(service)

    _within(test)
