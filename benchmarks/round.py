"""One round through real tiers, without training: how long it takes, and how much memory each tier needs.

``python -m benchmarks.round [--clients 10] [--megabytes 1.7] [--concurrent 10] [--workers 2] [--rounds 5] [--json]``

S3, master and workers run as processes, as ``./train.sh`` starts them. Clients are threads that
send updates made before. The last update is sent alone, after all others were counted, so that
"commit" is the time from its first byte until S3's head names the round. Memory is the largest
proportional set size (PSS) that was seen of each server's process; it counts mapped files.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from fedtier.problems import Problem
from fedtier.rounds import RoundStatus
from fedtier.tensors import write_arrays
from fedtier.tokens import Bearer
from fedtier.upstream import Unreachable, Upstream, file_sha256
from fedtier_cli.local_keys import LocalKeys, local_keys
from fedtier_cli.processes import Child, Children
from fedtier_cli.rundir import Federation, RunDirectory
from fedtier_cli.tiers import (
    EmbeddedStore,
    TierSettings,
    await_addresses,
    embedded_store,
    shared_port,
    start_master,
    start_workers,
)

_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
_WATCH_SECONDS = 0.02


@dataclass(frozen=True)
class Measured:
    """What was measured; seconds are medians over the rounds, memory the peak of all."""

    clients: int
    megabytes: float
    workers: int
    rounds: int
    round_seconds: float
    commit_seconds: float
    commit_seconds_slowest: float
    peak_pss_megabytes: Mapping[str, int]


@dataclass(frozen=True)
class Entrance:
    """Where clients reach the workers, and the keys that sign their tokens."""

    url: str
    keys: LocalKeys

    def open(self, client: int) -> Upstream:
        """Return a client's connection."""
        token = self.keys.token(Bearer("client", f"client-{client}"))
        return Upstream(self.url, token=lambda: token)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Seconds and memory of a round through real tiers.")
    parser.add_argument("--clients", type=int, default=10, help="updates per round, at least 2 (default 10)")
    parser.add_argument("--megabytes", type=float, default=1.7, help="float32 in an update (default 1.7, mnist_cnn)")
    parser.add_argument("--concurrent", type=int, default=10, help="updates sent at once (default 10)")
    parser.add_argument("--workers", type=int, default=2, help="worker aggregators on one port (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if min(options.clients - 1, options.concurrent, options.workers, options.rounds) < 1 or options.megabytes <= 0:
        parser.error("two clients at least, and one of everything else")
    with tempfile.TemporaryDirectory(prefix="fedtier-benchmark-") as folder:
        measured = measure(options, RunDirectory(Path(folder)))
    if options.json:
        print(json.dumps(asdict(measured), indent=2))
        return
    print(
        f"{measured.clients} clients of {measured.megabytes} MB, {measured.workers} workers, {measured.rounds} rounds"
    )
    print(f"round   {measured.round_seconds:8.3f} s   first byte of the first update to the round in S3, median")
    print(f"commit  {measured.commit_seconds:8.3f} s   first byte of the last update to the round in S3, median")
    print(f"        {measured.commit_seconds_slowest:8.3f} s   the same, slowest")
    for name, megabytes in measured.peak_pss_megabytes.items():
        print(f"{name:9s} {megabytes:6d} MB  peak PSS")


def measure(options: argparse.Namespace, run: RunDirectory) -> Measured:
    """Run the rounds in a folder that is thrown away."""
    updates = make_updates(run.path, options.clients, options.megabytes)
    settings = TierSettings(
        task="benchmark", workers=options.workers, threshold=options.clients, last_round=options.rounds
    )
    peaks: dict[str, int] = {}
    rounds, commits = [], []
    with running(run, settings, updates[0]) as (store, entrance, servers), watched(servers, peaks):
        for number in range(1, options.rounds + 1):
            await_round(entrance, number)
            seconds = one_round(store, entrance, number, updates, options.concurrent)
            rounds.append(seconds[0])
            commits.append(seconds[1])
    return Measured(
        clients=options.clients,
        megabytes=options.megabytes,
        workers=options.workers,
        rounds=options.rounds,
        round_seconds=round(statistics.median(rounds), 4),
        commit_seconds=round(statistics.median(commits), 4),
        commit_seconds_slowest=round(max(commits), 4),
        peak_pss_megabytes=dict(sorted(peaks.items())),
    )


def one_round(
    store: EmbeddedStore, entrance: Entrance, number: int, updates: list[Path], concurrent: int
) -> tuple[float, float]:
    """Send every update, the first client's last; return the seconds until S3 has the round, since first and last."""
    started = time.perf_counter()
    with ThreadPoolExecutor(concurrent) as pool:
        for sent in [
            pool.submit(upload, entrance, number, client, updates[client]) for client in range(1, len(updates))
        ]:
            sent.result()
    last = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(upload, entrance, number, 0, updates[0])
        while store.newest_round() != number:
            if sent.done():
                sent.result()
        ended = time.perf_counter()
    return ended - started, ended - last


def make_updates(folder: Path, clients: int, megabytes: float) -> list[Path]:
    """Write one update per client; the first serves as the initial model too."""
    rng = np.random.default_rng(0)
    rows = max(1, round(megabytes * 1e6 / 4 / 1000))
    base = rng.normal(size=(rows, 1000)).astype(np.float32)
    paths = []
    for client in range(clients):
        path = folder / f"update-{client}.safetensors"
        arrays = {"weight": base + np.float32(client / 1000), "bias": np.zeros(10, np.float32)}
        with path.open("wb") as file:
            write_arrays(file, arrays, metadata={"num_examples": "600", "metrics": '{"loss": 0.5}'})
        paths.append(path)
    return paths


@contextmanager
def running(
    run: RunDirectory, settings: TierSettings, model: Path
) -> Iterator[tuple[EmbeddedStore, Entrance, Mapping[str, Child]]]:
    """Run S3, a master and workers; give the way to the workers."""
    keys = local_keys(run, datetime.now(UTC))
    federation = Federation(task=settings.task, bucket="benchmark", bucket_key=settings.bucket_key, test_data="")
    with (
        embedded_store(run, federation) as store,
        shared_port(0) as port,
        Children(run.logs, dict(os.environ)) as children,
    ):
        master = start_master(children, run, settings, store, keys, model)
        (master_url,) = await_addresses(children, [master], lambda _: None)
        workers = start_workers(children, keys, settings.workers, master_url, port)
        url = await_addresses(children, workers, lambda _: None)[0]
        yield store, Entrance(url, keys), {child.name: child for child in (master, *workers)}


@contextmanager
def watched(servers: Mapping[str, Child], peaks: dict[str, int]) -> Iterator[None]:
    """Keep the largest PSS of each server's process, in MB."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH_SECONDS):
            for name, child in servers.items():
                peaks[name] = max(peaks.get(name, 0), pss_megabytes(child.process.pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def pss_megabytes(pid: int) -> int:
    """Return the PSS of a server's own process: the child of gunicorn's arbiter."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = _PSS.search(Path(f"/proc/{children[0]}/smaps_rollup").read_text())
    return int(found[1]) // 1024 if found else 0


def upload(entrance: Entrance, number: int, client: int, path: Path) -> None:
    """Send an update until it is counted."""
    with entrance.open(client) as upstream:
        while True:
            try:
                upstream.put_file(f"/v1/rounds/{number}/updates/client-{client}", path, sha256=file_sha256(path))
            except Unreachable:
                continue
            except Problem as problem:
                if problem.status != 503:
                    raise
            else:
                return


def await_round(entrance: Entrance, number: int) -> RoundStatus:
    """Return once the workers show a round as open."""
    with entrance.open(0) as upstream:
        while (status := upstream.round_status()).round < number:
            pass
    return status


if __name__ == "__main__":
    main()
