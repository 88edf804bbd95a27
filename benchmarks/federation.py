"""A whole federation for benchmarks: S3, a master, workers and clients, each a process, as users start them.

The processes are those of ``fedtier train`` on one machine; the clients run `benchmarks.exchange`, and meet at a
barrier.
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from rich.console import Console

import benchmarks.exchange
from benchmarks.barrier import Barrier
from benchmarks.exchange import Part
from benchmarks.reference_sum import write_opening_model
from benchmarks.updates import SEED, Outline
from client.halves import UploadDtype
from fedtier.bucket import Bucket, connect
from fedtier.documents import json_object
from fedtier_cli.display import LineDisplay
from fedtier_cli.local_clients import ClientCall, client_name, dealt, start_clients
from fedtier_cli.local_keys import local_keys
from fedtier_cli.processes import Child, Children, Ended, Event, Fact
from fedtier_cli.rundir import Federation, RunDirectory
from fedtier_cli.seaweed import REGION
from fedtier_cli.tiers import (
    EmbeddedStore,
    TierSettings,
    await_addresses,
    embedded_store,
    shared_port,
    start_master,
    start_workers,
)
from fedtier_cli.workplace import child_environment

_TASK: Final = "exchange"
_PRESIGNED_SECONDS: Final = 24 * 3600
_LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played.

    Parameters
    ----------
    clients : int
    processes : int
        That play the clients; where they are fewer, the clients of a process take turns.
    outline : Outline
        Of the model.
    workers : int
    upload_dtype : {"float32", "bfloat16", "float16"}
        As which clients send the layers.
    """

    clients: int
    processes: int
    outline: Outline
    workers: int
    upload_dtype: UploadDtype = "float32"

    @property
    def update_bytes(self) -> int:
        """Bytes of the tensors that one client sends in a round."""
        halves = 0 if self.upload_dtype == "float32" else self.outline.elements
        return self.outline.nbytes - 2 * halves


class Played:
    """A running federation.

    Parameters
    ----------
    store : EmbeddedStore
    children : Children
    barrier : Barrier
    tiers : Mapping of str to tuple of int
        First processes of ``s3``, ``master``, ``worker`` and ``client``.
    """

    def __init__(
        self, store: EmbeddedStore, children: Children, barrier: Barrier, tiers: Mapping[str, tuple[int, ...]]
    ) -> None:
        self.store = store
        self.tiers = tiers
        self._children = children
        self._barrier = barrier

    def await_arrivals(self, seconds: float) -> float:
        """Wait until all clients hold the open round's model and have their updates ready; return when the last had.

        Raises
        ------
        TimeoutError
        RunFailed
            A process ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                return max(self._barrier.await_arrivals(_LOOK_SECONDS).values())
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
            while (event := self._children.next_event(0)) is not None:
                _require_going_on(event)

    def release(self) -> float:
        """Let all clients send their updates; return when that was, on the monotonic clock."""
        return self._barrier.release()

    def next_saved(self, seconds: float) -> bool:
        """Wait so long for something to happen; return whether it is that a client had its update on disk.

        Raises
        ------
        RunFailed
            A process ended.
        """
        event = self._children.next_event(seconds)
        if event is not None:
            _require_going_on(event)
        return isinstance(event, Fact) and event.members["event"] == "trained"


class HeadWatch:
    """Looks at S3's head from outside, by one presigned URL over one connection, so that a look costs little.

    Parameters
    ----------
    url : str
        Presigned, of the head.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._path = f"{parts.path}?{parts.query}"
        self._connection = http.client.HTTPConnection(parts.netloc)

    @classmethod
    def of(cls, store: EmbeddedStore) -> Self:
        """Return one that looks at a federation's head."""
        server = store.server
        client = connect(
            endpoint=server.endpoint,
            access_key=server.credentials.access_key,
            secret_key=server.credentials.secret_key,
            region=REGION,
        )
        return cls(Bucket(server.bucket, client=client).presign(store.rounds.keys.head, _PRESIGNED_SECONDS))

    def newest_round(self) -> int:
        """Return the round that head names."""
        try:
            status, body = self._look()
        except ConnectionError:  # S3 may close one that was idle while clients took a model
            self._connection.close()
            status, body = self._look()
        if status != 200:
            raise ConnectionError(f"S3 answers {status} to a look at the head")
        return int(json_object(body)["round"])

    def _look(self) -> tuple[int, bytes]:
        self._connection.request("GET", self._path)
        with self._connection.getresponse() as response:
            return response.status, response.read()


@contextmanager
def played(plan: Plan, run: RunDirectory) -> Iterator[Played]:
    """Run a federation in a folder; its clients come to the barrier with their first updates.

    Raises
    ------
    StartupError, RunFailed
    """
    keys = local_keys(run, datetime.now(UTC))
    settings = TierSettings(task=_TASK, workers=plan.workers, threshold=plan.clients, last_round=None)
    federation = Federation(task=_TASK, bucket="benchmark", bucket_key=settings.bucket_key, test_data="")
    opening = run.path / "opening.safetensors"
    with opening.open("wb") as file:
        write_opening_model(file, plan.outline, SEED)
    with (
        Barrier(plan.processes) as barrier,
        embedded_store(run, federation) as store,
        shared_port(0) as port,
        Children(run.logs, _environment()) as children,
    ):
        master = start_master(children, run, settings, store, keys, opening)
        (master_url,) = await_addresses(children, [master], lambda _: None)
        workers = start_workers(children, keys, settings.workers, master_url, port)
        url = await_addresses(children, workers, lambda _: None)[0]
        call = ClientCall(
            server=url,
            task=f"{benchmarks.exchange.__file__}:Exchange",
            last_round=None,
            seed=0,
            upload_dtype=plan.upload_dtype,
        )
        data = _write_parts(plan, run, barrier)
        clients = start_clients(children, keys, data, plan.processes, call, LineDisplay(Console(stderr=True)))
        yield Played(
            store,
            children,
            barrier,
            {
                "s3": (store.server.pid,),
                "master": _pids([master]),
                "worker": _pids(workers),
                "client": _pids([process.child for process in clients]),
            },
        )


def _environment() -> dict[str, str]:
    checkout = str(Path(__file__).resolve().parent.parent)
    environment = child_environment(os.environ)
    # The task stands beside the packages, and is not installed with them.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [checkout, environment.get("PYTHONPATH")]))
    return environment


def _write_parts(plan: Plan, run: RunDirectory, barrier: Barrier) -> list[Path]:
    folder = run.path / "parts"
    folder.mkdir()
    paths = [folder / f"{client_name(client)}.json" for client in range(plan.clients)]
    for process, clients in enumerate(dealt(plan.clients, plan.processes)):
        for client in clients:
            party = f"process-{process}"
            Part(client, plan.outline.rows, SEED, barrier.address, party).write(paths[client])
    return paths


def _pids(children: list[Child]) -> tuple[int, ...]:
    return tuple(child.process.pid for child in children)


def _require_going_on(event: Event) -> None:
    match event:
        case Ended(child, status):
            raise child.ended(status)
        case Fact(child, members) if members["event"] == "finished":
            raise child.failure(f"has a client that stopped: {members.get('detail')}")
