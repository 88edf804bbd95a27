"""Services: addresses at which connections of TCP are passed to pods that are ready, to each in its turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

Address = tuple[str, int]
_CHUNK = 1 << 16


class Proxy:
    """Listens at the addresses that it is told, within a running event loop."""

    def __init__(self) -> None:
        self._servers: dict[Address, asyncio.Server] = {}
        self._targets: dict[Address, list[Address]] = {}
        self._open: set[asyncio.Task[None]] = set()

    async def route(self, routes: Mapping[Address, Sequence[Address]]) -> None:
        """Listen at each address; connections that are open stay as they are.

        Parameters
        ----------
        routes : Mapping
            Where connections to each address go; where there is nobody, they are refused by being closed. At an
            address that is not among them nobody listens any more.
        """
        for address, targets in routes.items():
            # The turn goes on where it was.
            kept = [target for target in self._targets.get(address, []) if target in targets]
            self._targets[address] = [*kept, *(target for target in targets if target not in kept)]
        for address in self._servers.keys() - routes.keys():
            self._servers.pop(address).close()
            del self._targets[address]
        for address in routes.keys() - self._servers.keys():
            self._servers[address] = await asyncio.start_server(self._accept(address), *address)

    def close(self) -> None:
        """Listen no more."""
        for server in self._servers.values():
            server.close()

    def _accept(self, address: Address) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(address, reader, writer))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

        return accept

    async def _serve(self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        targets = self._targets.get(address, [])
        with contextlib.suppress(OSError):
            if targets:
                target = targets.pop(0)
                targets.append(target)
                await _connected(reader, writer, target)
        writer.close()


async def _connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Address) -> None:
    """Pass on what either says until both have said all, or one is gone."""
    other_reader, other_writer = await asyncio.open_connection(*target)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass(reader, other_writer))
            group.create_task(_pass(other_reader, writer))
    except* OSError:
        # To whoever is left it looks as the end of the other did.
        writer.transport.abort()
    finally:
        other_writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()
