"""The servers of a scale benchmark: S3, a master, perhaps workers in between, and the workers that clients reach.

They are started as a local run starts them (`fedtier_cli.tiers`), and looked at from outside only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import requests

from benchmarks.processes import cpu_seconds
from fedtier_cli.local_keys import LocalKeys
from fedtier_cli.processes import Child, Children
from fedtier_cli.rundir import Federation, RunDirectory
from fedtier_cli.tiers import (
    GRACE,
    EmbeddedStore,
    TierSettings,
    await_addresses,
    embedded_store,
    shared_port,
    start_master,
)

EDGES_PER_MIDDLE: Final = 4
"""In a tree of depth 3: so many workers have one worker above them."""
_SCRAPE_SECONDS: Final = 30.0
_COUNTED: Final = 'fedtier_uploads_total{kind="partial",outcome="counted"}'
_RECEIVED: Final = 'fedtier_received_bytes_total{content="partial"}'


@dataclass(frozen=True, slots=True)
class Tree:
    """What is started.

    Parameters
    ----------
    workers : int
        That clients reach, on one port.
    depth : int
        2 for worker and master, 3 for one more tier of workers between them.
    """

    workers: int
    depth: int

    @property
    def middle(self) -> int:
        """How many workers there are between those and the master."""
        return -(-self.workers // EDGES_PER_MIDDLE) if self.depth == 3 else 0


@dataclass(frozen=True, slots=True)
class Tiers:
    """What runs.

    Parameters
    ----------
    port : int
        Of the workers that clients reach, on 127.0.0.1.
    pids : Mapping of str to list of int
        The first processes of each tier.
    master_state : Path
        The master's state directory.
    store : EmbeddedStore
    master : str
        The master's address.
    operator : str
        A token that may read its metrics.
    """

    port: int
    pids: Mapping[str, list[int]]
    master_state: Path
    store: EmbeddedStore
    master: str
    operator: str = field(repr=False)

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds that each tier has used."""
        return {tier: cpu_seconds(pids) for tier, pids in self.pids.items()}

    def partials(self) -> tuple[int, int]:
        """Return how many partials the master has counted, and how many bytes of partials it has received."""
        answer = requests.get(
            f"{self.master}/metrics", headers={"Authorization": f"Bearer {self.operator}"}, timeout=_SCRAPE_SECONDS
        )
        answer.raise_for_status()
        return int(float(_value(answer.text, _COUNTED))), int(float(_value(answer.text, _RECEIVED)))


@contextmanager
def running(run: RunDirectory, keys: LocalKeys, tree: Tree, threshold: int, model: Path) -> Iterator[Tiers]:
    """Run the servers while the block runs.

    Parameters
    ----------
    run : RunDirectory
    keys : LocalKeys
        Of the run.
    tree : Tree
    threshold : int
        Clients at which a round closes.
    model : Path
        Opens round 1.
    """
    settings = TierSettings(task="scale", workers=tree.workers, threshold=threshold, last_round=None)
    federation = Federation(task=settings.task, bucket="benchmark", bucket_key=settings.bucket_key, test_data="")
    with (
        embedded_store(run, federation) as store,
        shared_port(0) as port,
        Children(run.logs, dict(os.environ)) as children,
    ):
        master = start_master(children, run, settings, store, keys, model)
        (master_url,) = await_addresses(children, [master], lambda _: None)
        pids = {"s3": [store.server.pid], "master": [master.process.pid]}
        upstreams = [master_url]
        if tree.depth == 3:
            middle = [_start(children, keys, f"middle-{at}", master_url, 0) for at in range(tree.middle)]
            upstreams = await_addresses(children, middle, lambda _: None)
            pids["middle"] = [child.process.pid for child in middle]
        workers = [
            _start(children, keys, f"worker-{at}", upstreams[at % len(upstreams)], port) for at in range(tree.workers)
        ]
        await_addresses(children, workers, lambda _: None)
        pids["worker"] = [child.process.pid for child in workers]
        operator = run.token("operator").read_text().strip()
        yield Tiers(port, pids, run.state("master"), store, master_url, operator)


def _value(text: str, name: str) -> str:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return found[1] if found else "0"


def _start(children: Children, keys: LocalKeys, name: str, upstream: str, port: int) -> Child:
    """Start a worker below a server that is not always the master."""
    flags = ["--master", upstream, "--state-dir", str(keys.run.state(name)), "--port", str(port), "--grace", GRACE]
    return children.start(name, ["worker", *flags, "--share-port", "--json"], environment=keys.of_workers)
