"""How long a round takes while somebody attacks the worker that the clients use, beside a round in peace.

``python -m benchmarks.attack [--repeats 5] [--json]``

Real processes on this machine: a master, a worker that asks for tokens, and an attacker that is a process of its own.
Ten clients are threads that send updates made before, as ``fedtier client`` sends them. Every round is played
once in peace and once under attack, so each figure stands beside its own yardstick.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import stamina.instrumentation

from fedtier.logs import configure_logging
from tests.system.attacks import ATTACKS, KindOfAttack, send_all
from tests.system.federation import Aggregator, Federation
from tests.system.guards import Guard
from tests.system.lasting_s3 import LastingS3
from tests.system.updates import TenUpdates, make_ten_updates


@dataclass(frozen=True)
class AttackCost:
    """One kind of attack; seconds.

    Parameters
    ----------
    attack : str
    peace : float
        From the first byte of a round to its publishing, undisturbed; the median.
    attacked : float
        The same under attack.
    longest : float
        The longest under attack.
    did : Mapping of str to int
        What the attacker did in the last repeat, by its own account.
    """

    attack: str
    peace: float
    attacked: float
    longest: float
    did: Mapping[str, int]

    @property
    def ratio(self) -> float:
        """How many times as long a round takes."""
        return self.attacked / self.peace


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=ATTACKS, action="append", help="one attack; may be repeated")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    configure_logging("attack", level=logging.ERROR)
    stamina.instrumentation.set_on_retry_hooks([])
    chosen = {name: ATTACKS[name] for name in options.only or ATTACKS}
    with tempfile.TemporaryDirectory() as folder, LastingS3(Path(folder)) as s3:
        measured = measure(Path(folder), s3, chosen, options.repeats)
    print(json.dumps([asdict(one) for one in measured], indent=1) if options.json else table(measured))


def measure(folder: Path, s3: LastingS3, attacks: Mapping[str, KindOfAttack], repeats: int) -> list[AttackCost]:
    """Play rounds, every second one under attack."""
    guard, updates = Guard(folder / "keys", tls=False), make_ten_updates(folder)
    found = []
    with Federation(folder, s3.server, "jobs/a.safetensors", guard=guard) as federation:
        master = federation.master(updates.model, "--threshold", "10")
        worker = federation.worker("worker", upstream=master.url)
        play(master, worker, guard, updates)  # imports, caches and connections
        for name, kind in attacks.items():
            peace, attacked = [], []
            did: dict[str, Any] = {}
            for _ in range(repeats):
                peace.append(play(master, worker, guard, updates))
                with kind.on(worker, guard, master.status().round) as attack:
                    attacked.append(play(master, worker, guard, updates))
                did = {what: count for what, count in attack.report.items() if what != "event"}
            found.append(AttackCost(name, statistics.median(peace), statistics.median(attacked), max(attacked), did))
    return found


def play(master: Aggregator, worker: Aggregator, guard: Guard, updates: TenUpdates) -> float:
    """Play the open round, all clients at once; return the seconds until it was published."""
    number = master.status().round
    worker.wait_for_round(number)
    started = time.monotonic()
    send_all(worker, updates.updates, number, guard)
    manifest = master.published(number)
    seconds = time.monotonic() - started
    if not updates.are_exactly_in(manifest):
        raise SystemExit(f"round {number} is not what it should be")
    return seconds


def table(measured: list[AttackCost]) -> str:
    """Return it to be read."""
    lines = [f"{'seconds':36} {'peace':>7} {'attacked':>9} {'longest':>8} {'ratio':>6}  the attacker"]
    for one in measured:
        did = ", ".join(f"{what} {count}" for what, count in one.did.items())
        lines.append(f"{one.attack:36} {one.peace:7.2f} {one.attacked:9.2f} {one.longest:8.2f} {one.ratio:6.1f}  {did}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
