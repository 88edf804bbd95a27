"""The attacks that tests and the benchmark run, on a worker that asks for tokens."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import requests

from fedtier.rounds import UpdateReceipt
from tests.system.attackers import Attack
from tests.system.federation import PATIENCE, Aggregator
from tests.system.guards import Guard
from tests.system.updates import Update, send

CONNECTIONS: Final = 200
REQUESTS_PER_SECOND: Final = 2000
_SEVERAL: Final = 20
_NEXT_QUESTION: Final = 0.05


@dataclass(frozen=True)
class KindOfAttack:
    """What is done to a worker.

    Parameters
    ----------
    kind, amount
        See `Attack`.
    clients : int
        How many clients' tokens its requests bear.
    """

    kind: str
    amount: int
    clients: int = 0

    def on(self, worker: Aggregator, guard: Guard, round_number: int) -> Attack:
        """Return the attack on a worker and the round that is open, to be begun."""
        names = [f"greedy-{number}" for number in range(self.clients)]
        tokens = [(name, guard.token("client", name)) for name in names]
        return Attack(self.kind, self.amount, worker.host, worker.port, worker.state_dir.parent, round_number, tokens)


ATTACKS: Final = {
    "bodies that never end, no token": KindOfAttack("bodies", CONNECTIONS),
    "bodies that never end, one client": KindOfAttack("bodies", CONNECTIONS, clients=1),
    "bodies that never end, 20 clients": KindOfAttack("bodies", CONNECTIONS, clients=_SEVERAL),
    "heads that never end": KindOfAttack("heads", CONNECTIONS),
    "2,000 requests/s, no token": KindOfAttack("flood", REQUESTS_PER_SECOND),
}


def send_all(worker: Aggregator, updates: Sequence[Update], number: int, guard: Guard) -> list[UpdateReceipt]:
    """Send updates at the same time, each as the client that it is of."""

    def send_one(update: Update) -> UpdateReceipt:
        return send(worker.url, update, number, guard)

    with ThreadPoolExecutor(len(updates)) as senders:
        receipts = list(senders.map(send_one, updates))
    gc.collect()  # an answer that was an exception keeps its sender's connection open until then
    return receipts


@contextlib.contextmanager
def health_asked(worker: Aggregator) -> Iterator[Callable[[], list[int]]]:
    """Ask a worker again and again whether it lives, and give what returns the statuses so far."""
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(_NEXT_QUESTION):
            statuses.append(requests.get(f"{worker.url}/healthz", timeout=PATIENCE).status_code)

    with ThreadPoolExecutor(1) as asker:
        asking = asker.submit(ask)
        try:
            yield lambda: list(statuses)
        finally:
            over.set()
            asking.result()
