"""The node's part of the network: Services and probes, in a thread of its own that lives in the containers' network."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from tests.infra.kubernetes.cluster.probes import ProbeKey, Prober, ProbeTarget
from tests.infra.kubernetes.cluster.proxy import Address, Proxy


class Node:
    """Services and probes, as long as the context lasts.

    Parameters
    ----------
    network : callable
        Returns a context within which a thread is in the containers' network.
    say : callable
        Called with a probe's key, and whether it succeeds now.
    """

    def __init__(
        self,
        network: Callable[[], contextlib.AbstractContextManager[None]],
        say: Callable[[ProbeKey, bool], None],
    ) -> None:
        self._network = network
        self._proxy = Proxy()
        self._prober = Prober(say)
        self._loop = asyncio.new_event_loop()
        self._wanted: asyncio.Queue[tuple[Mapping[Address, Sequence[Address]], Mapping[ProbeKey, ProbeTarget]]]
        self._wanted = asyncio.Queue()
        self._serving = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name="node")

    def __enter__(self) -> Node:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()
        self._loop.close()

    def show(self, routes: Mapping[Address, Sequence[Address]], probes: Mapping[ProbeKey, ProbeTarget]) -> None:
        """Have these Services and probes from soon on, and no others; what broke meanwhile is raised."""
        if self._serving.done():
            self._serving.result()
        self._loop.call_soon_threadsafe(self._wanted.put_nowait, (routes, probes))

    def _run(self) -> None:
        with self._network(), contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)

    async def _serve(self) -> None:
        try:
            while True:
                routes, probes = await self._wanted.get()
                await self._proxy.route(routes)
                self._prober.probe(probes)
        finally:
            await self._end()

    async def _end(self) -> None:
        self._proxy.close()
        others = asyncio.all_tasks() - {self._serving}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
