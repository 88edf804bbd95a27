"""How long a federation is held up when something dies: a worker, the tier above it, the master, or S3.

``python -m benchmarks.recovery [--clients 20] [--repeats 5] [--outage 10] [--json]``

Real processes on this machine, disturbed and started again by the test suite's own harness. Clients are
threads that send updates made before, through a load balancer over two workers, as ``fedtier client`` sends
them. Every round is played once in peace and once with the fault, so each figure stands beside its own yardstick.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import stamina.instrumentation

from fedtier.crash_points import CrashPoint
from fedtier.dtypes import Array
from fedtier.fields import sha256_hex
from fedtier.logs import configure_logging
from fedtier.tensors import write_arrays
from tests.builders import update_bytes
from tests.system.faults import Killed, S3Stopped
from tests.system.federation import Federation
from tests.system.lasting_s3 import LastingS3
from tests.system.tree import Fault, Tree
from tests.system.updates import Update, send

_ENTRANCE = "entrance"


@dataclass(frozen=True)
class FaultCost:
    """One kind of fault; seconds, the median of all repeats and the longest.

    Parameters
    ----------
    fault : str
    peace : float
        From the first byte of a round to its publishing, undisturbed.
    disturbed : float
        The same with the fault.
    longest : float
        The longest disturbed one.
    away : float
        From the end of the process until it was ready again; of S3, how long it was stopped.
    """

    fault: str
    peace: float
    disturbed: float
    longest: float
    away: float


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--outage", type=float, default=10.0, help="seconds that S3 is away")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    configure_logging("recovery", level=logging.ERROR)
    stamina.instrumentation.set_on_retry_hooks([])
    with tempfile.TemporaryDirectory() as folder, LastingS3(Path(folder)) as s3:
        measured = measure(Path(folder), s3, options)
    print(json.dumps([asdict(one) for one in measured], indent=1) if options.json else table(measured))


def measure(folder: Path, s3: LastingS3, options: argparse.Namespace) -> list[FaultCost]:
    """Play rounds, every second one with a fault."""
    arrays = {"weight": np.zeros((1000, 400), np.float32)}
    updates = make_updates(folder, arrays, options.clients)
    model = folder / "model.safetensors"
    with model.open("wb") as file:
        write_arrays(file, arrays)
    faults: dict[str, Callable[[int], Fault]] = {
        "worker killed, uploads open": lambda number: Killed("edge-1", number, at=CrashPoint.BATCH_SEALED),
        "tier above it killed": lambda number: Killed("middle", number, at=CrashPoint.BATCH_SEALED),
        "master killed, counting": lambda number: Killed("master", number, at=CrashPoint.ENTRIES_JOURNALED),
        "master killed, publishing": lambda number: Killed("master", number, at=CrashPoint.CLOSE_RECORDED),
        f"S3 stopped for {options.outage:g} s": lambda number: S3Stopped(number, options.outage),
    }
    killed = {"worker": "edge-1", "tier": "middle", "master": "master"}
    with (
        Federation(folder, s3.server, "jobs/a.safetensors") as federation,
        Tree(federation, folder / "s", s3=s3) as tree,
    ):
        tree.master(model, "--threshold", str(options.clients))
        tree.worker("middle", upstream="master")
        for edge in ("edge-1", "edge-2"):
            tree.worker(edge, upstream="middle")
        tree.entrance(_ENTRANCE, ["edge-1", "edge-2"])
        play(tree, updates)  # imports, caches and connections
        found = []
        for name, fault in faults.items():
            keeper = tree.keepers.get(killed.get(name.split()[0], ""))
            seconds = [(play(tree, updates), play(tree, updates, fault)) for _ in range(options.repeats)]
            peace, disturbed = [s for s, _ in seconds], [s for _, s in seconds]
            away = options.outage if keeper is None else statistics.median(keeper.absences[-options.repeats :])
            found.append(FaultCost(name, statistics.median(peace), statistics.median(disturbed), max(disturbed), away))
    return found


def play(tree: Tree, updates: Sequence[Update], fault: Callable[[int], Fault] | None = None) -> float:
    """Play the open round, all clients at once; return the seconds until it was published."""
    number = tree.open_round()
    expected = [] if fault is None else [fault(number)]
    tree.expect(*expected)
    url = tree.ways[_ENTRANCE].url
    started = time.monotonic()
    with ThreadPoolExecutor(len(updates)) as senders:
        list(senders.map(lambda update: send(url, update, number), updates))
    tree.published(number)
    seconds = time.monotonic() - started
    if tree.happened() != expected:
        raise SystemExit(f"{expected} did not happen in round {number}")
    return seconds


def make_updates(folder: Path, arrays: dict[str, Array], clients: int) -> list[Update]:
    """Write an update for each client."""
    updates = []
    for client in range(clients):
        body = update_bytes({name: np.full_like(array, client / clients) for name, array in arrays.items()}, client + 1)
        path = folder / f"update-{client}.safetensors"
        path.write_bytes(body)
        updates.append(Update(f"client-{client}", client + 1, path, sha256_hex(body)))
    return updates


def table(measured: list[FaultCost]) -> str:
    """Return it to be read."""
    lines = [f"{'seconds':28} {'peace':>7} {'fault':>7} {'longest':>8} {'away':>6} {'more':>6}"]
    for one in measured:
        more = one.disturbed - one.peace
        lines.append(
            f"{one.fault:28} {one.peace:7.2f} {one.disturbed:7.2f} {one.longest:8.2f} {one.away:6.2f} {more:6.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
