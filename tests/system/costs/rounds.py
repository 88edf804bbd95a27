"""Plays some rounds through three tiers of real processes, and says what each of them spent on those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from fedtier.store import ROUND_METADATA
from fedtier.tensors import write_arrays
from tests.relays import address_of
from tests.s3_servers import S3Server
from tests.system.clients import Client
from tests.system.costs import steady
from tests.system.costs.meters import Spent, spent_by
from tests.system.costs.taps import Passed, Tap
from tests.system.federation import Aggregator, Federation

CLIENTS: Final = 3
ROUNDS: Final = 7
UPDATES: Final = CLIENTS * ROUNDS
_FIRST: Final = 3
"""The round from whose training on everything counts: what is done once was done before, but for some pages."""
_LAST: Final = _FIRST + ROUNDS
_SMALL_PAGES: Final = {"NUMPY_MADVISE_HUGEPAGE": "0"}
"""Has a large buffer take pages of one size, however much memory is free: so they can be counted."""
_TASK: Final = f"{steady.__file__}:{steady.Steady.__name__}"


@dataclass(frozen=True, slots=True)
class Played:
    """What some rounds took.

    Parameters
    ----------
    spent : Mapping of str to tuple of Spent
        By tier, one for each round; clients all together.
    passed : Mapping of str to Passed
        By the way that it took: from clients to the worker, from the worker to the master, from the master to S3.
    partials : int
        That the worker was told are counted.
    model_bytes : int
        Of a model, and nearly of an update.
    """

    spent: Mapping[str, tuple[Spent, ...]]
    passed: Mapping[str, Passed]
    partials: int
    model_bytes: int

    @property
    def partial_bytes(self) -> int:
        """Of all partials."""
        return self.passed["worker to master"].up["partial"]


def play(folder: Path, s3: S3Server, bucket_key: str) -> Played:
    """Play the rounds and return what they took, each from its training to that of the next."""
    model = folder / "model.safetensors"
    with model.open("wb") as file:
        write_arrays(file, steady.steady_model())
    with (
        Tap.to_s3(address_of(s3)) as store,
        Federation(folder, s3.by(store.url), bucket_key, variables=_SMALL_PAGES) as federation,
    ):
        master = federation.master(model, "--threshold", str(CLIENTS))
        with _tapped(master) as to_master, _tapped(federation.worker("worker", upstream=to_master.url)) as to_worker:
            watched = _Watched(
                federation,
                [Client(federation, f"client-{number}", _TASK) for number in range(CLIENTS)],
                {"client to worker": to_worker, "worker to master": to_master, "master to S3": store},
            )
            watched.start(to_worker.url)
            stands = [watched.stand_still(_FIRST, s3)]
            for number in range(_FIRST, _LAST):
                watched.go_on(number)
                stands.append(watched.stand_still(number + 1, s3))
            batches = federation["worker"].events("batch counted")
    (tiers, passed), (_, in_the_end) = stands[0], stands[-1]
    return Played(
        {tier: tuple(after[tier] - before[tier] for (before, _), (after, _) in pairwise(stands)) for tier in tiers},
        {way: in_the_end[way] - passed[way] for way in passed},
        sum(_FIRST <= batch["round"] < _LAST for batch in batches),
        model.stat().st_size,
    )


@contextmanager
def _tapped(aggregator: Aggregator) -> Iterator[Tap]:
    with Tap.to_tier((aggregator.host, aggregator.port)) as tap:
        yield tap


class _Watched:
    def __init__(self, federation: Federation, clients: list[Client], ways: Mapping[str, Tap]) -> None:
        self._federation = federation
        self._clients = clients
        self._ways = ways

    def start(self, server: str) -> None:
        for client in self._clients:
            for number in range(_FIRST, _LAST + 1):
                client.keep_in_training(number)
            client.start(server)

    def stand_still(self, number: int, s3: S3Server) -> tuple[dict[str, Spent], dict[str, Passed]]:
        """Wait until all train for a round and nothing of the one before is left to be done; return what was spent."""
        for client in self._clients:
            client.await_training(number)
        master, worker = self._federation["master"], self._federation["worker"]
        copy = self._federation.bucket_key
        master.process.wait_until(
            lambda: (
                s3.client.head_object(Bucket=s3.bucket, Key=copy)["Metadata"].get(ROUND_METADATA) == str(number - 1)
            ),
            f"the copy is of round {number - 1}",
        )
        clients = [spent_by(client.process.pid, client.syncs) for client in self._clients]
        spent = {
            "client": sum(clients[1:], clients[0]),
            "worker": spent_by(worker.serving_pid, worker.syncs),
            "master": spent_by(master.serving_pid, master.syncs),
        }
        return spent, {name: way.passed() for name, way in self._ways.items()}

    def go_on(self, number: int) -> None:
        for client in self._clients:
            client.end_training(number)
