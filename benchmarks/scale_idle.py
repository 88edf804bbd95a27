"""Clients that only ask which round is open, as often as they are told to: what they cost a worker."""

from __future__ import annotations

import random
import statistics
import time

from benchmarks.load_connection import Answer, Wanted
from benchmarks.scale_cell import Cell, Figures, cell, percentile, spent
from benchmarks.scale_tiers import Tree

JITTER = (0.75, 1.25)


def measure_idle(tree: Tree, clients: int, *, settle: float, seconds: float) -> Figures:
    """Have clients poll, each over a connection of its own, and return a record.

    Parameters
    ----------
    tree : Tree
    clients : int
    settle : float
        Seconds before it counts: a worker learns in them how many ask it.
    seconds : float
        For which it counts, and for which the servers are looked at before, without clients.
    """
    with cell(tree, clients, 0.01, connections=clients) as here:
        here.await_round(1)
        alone, began = here.tiers.cpu(), time.monotonic()
        time.sleep(seconds)
        alone, lasted = spent(alone, here.tiers.cpu()), time.monotonic() - began
        polls = _Polls(here, random.Random(1))
        polls.run(clients, settle)
        before, started = here.tiers.cpu(), time.monotonic()
        polls.seen.clear()
        polls.paces.clear()
        polls.run(clients, seconds)
        took = time.monotonic() - started
        cpu, peaks = spent(before, here.tiers.cpu()), here.peaks()
    polled = max(1, len(polls.seen))
    return {
        "benchmark": "idle",
        "clients": clients,
        "workers": tree.workers,
        "depth": tree.depth,
        "seconds": round(took, 1),
        "polls_per_second": round(len(polls.seen) / took, 1),
        "poll_after": round(statistics.median(polls.paces), 3),
        "p99_ms": round(1000 * percentile(polls.seen, 99), 1),
        **{f"{tier}_cores": round(used / took, 4) for tier, used in cpu.items()},
        **{f"{tier}_cores_without_clients": round(used / lasted, 4) for tier, used in alone.items()},
        "worker_core_ms_per_poll": round(1000 * max(0.0, cpu["worker"] - alone["worker"] * took / lasted) / polled, 3),
        **peaks,
    }


class _Polls:
    """Polls of all clients, one after another for each."""

    def __init__(self, here: Cell, rng: random.Random) -> None:
        self._here = here
        self._rng = rng
        self._etags: dict[int, str] = {}
        self._paces: dict[int, float] = {}
        self._until = 0.0
        self.seen: list[float] = []
        self.paces: list[float] = []

    def run(self, clients: int, seconds: float) -> None:
        """Have clients poll for some seconds, each at the pace that it was told last."""
        now = time.monotonic()
        self._until = now + seconds
        first = [self._wanted(client, now + self._rng.uniform(0, self._pace(client))) for client in range(clients)]
        self._here.crowd.run([one for one in first if one is not None], self._see, concurrent=clients)
        left = self._until - time.monotonic()
        if left > 0:  # nobody is to ask any more; the time counts all the same
            time.sleep(left)

    def _pace(self, client: int) -> float:
        return self._paces.get(client, 1.0)

    def _wanted(self, client: int, at: float) -> Wanted | None:
        if at > self._until:
            return None
        return self._here.clients.get(client, "/v1/round", at=at, etag=self._etags.get(client))

    def _see(self, answer: Answer) -> Wanted | None:
        client = answer.wanted.client
        if answer.status == 200:
            self._etags[client] = answer.header("ETag") or ""
            self._paces[client] = float(answer.body.rpartition(b'"poll_after":')[2].partition(b"}")[0].split(b",")[0])
        elif answer.status != 304:
            raise SystemExit(f"a poll was refused: {answer.status} {answer.body[:300]!r}")
        self.seen.append(answer.ended - answer.began)
        self.paces.append(self._pace(client))
        return self._wanted(client, answer.ended + self._pace(client) * self._rng.uniform(*JITTER))
