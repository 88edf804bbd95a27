"""The federation that faults befall: a master, workers one and two tiers deep, a load balancer, seven clients.

Each of them shows a token of its own. There is no TLS: the ways read what passes on them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from fedtier.tensors import write_arrays
from tests.relays import S3BehindRelay
from tests.system import wanderer
from tests.system.disks import SmallDisk, can_be_mounted
from tests.system.federation import Federation
from tests.system.guards import Guard
from tests.system.lasting_s3 import LastingS3
from tests.system.tree import Tree

KEY: Final = "jobs/chaos.safetensors"
WORKERS: Final = ("middle", "edge-1", "edge-2", "side")
CLIENTS: Final = tuple(f"client-{number}" for number in range(7))
ON_SMALL_DISKS: Final = ("master", "middle", "edge-1")
BALANCED: Final = ("edge-1", "edge-2", "side")
"""The workers behind the entrance: each connection of a client is to any of them."""
WAYS: Final = ("entrance", "middle", "master")
THRESHOLD: Final = 5
QUORUM: Final = 3
_DEADLINE: Final = 4
_DISK_BYTES: Final = 64 << 20
THREADS: Final = 24


@contextlib.contextmanager
def scene(folder: Path, seed: str) -> Iterator[Tree]:
    """Start it all, and end it all."""
    with (
        LastingS3(folder) as s3,
        S3BehindRelay(s3.server) as s3_way,
        _disks(folder) as disks,
        Federation(folder, s3_way.server, KEY, Guard(folder / "keys", tls=False)) as federation,
        Tree(federation, folder / "sent", s3=s3, s3_way=s3_way, disks=disks, seed=seed) as tree,
    ):
        _plant(tree, folder)
        yield tree


@contextlib.contextmanager
def _disks(folder: Path) -> Iterator[Mapping[str, SmallDisk]]:
    """Give some aggregators small disks, where that may be done."""
    with contextlib.ExitStack() as mounted:
        names = ON_SMALL_DISKS if can_be_mounted(folder) else ()
        yield {name: mounted.enter_context(SmallDisk(folder / f"{name}-state", size=_DISK_BYTES)) for name in names}


def add_clients(tree: Tree) -> None:
    """Start the clients; the aggregators stand."""
    task = f"{wanderer.__file__}:{wanderer.Wanderer.__name__}"
    for client_id in CLIENTS:
        tree.client(client_id, "--data", wanderer.__file__, "--task", task, entrance="entrance")


def _plant(tree: Tree, folder: Path) -> None:
    model = folder / "initial.safetensors"
    with model.open("wb") as file:
        write_arrays(file, wanderer.Wanderer(folder).initial_model(0))
    threads = ("--threads", str(THREADS))
    closing = ("--threshold", str(THRESHOLD), "--min-clients", str(QUORUM), "--deadline", str(_DEADLINE))
    batches = ("--batch-max", "4", *threads)
    # Its file grows from round to round, which a small disk would not bear for long.
    tree.master(model, *closing, *threads, "--tensorboard-dir", str(folder / "tensorboard"))
    tree.worker("middle", *batches, upstream="master")
    tree.worker("edge-1", *batches, upstream="middle")
    tree.worker("edge-2", *batches, upstream="middle")
    tree.worker("side", *batches, upstream="master")
    tree.entrance("entrance", BALANCED)
