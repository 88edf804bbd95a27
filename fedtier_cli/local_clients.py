"""The clients of a local run: which of them share a process, and their start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedtier_cli.display import Display
from fedtier_cli.local_keys import LocalKeys
from fedtier_cli.processes import Child, Children
from fedtier_cli.tiers import GRACE

_MOST_ALONE: Final = 16
"""Up to so many clients have a process each; a process with torch takes 200 MB and some seconds to start."""


@dataclass(frozen=True, slots=True)
class ClientProcess:
    """A process and the names of the clients that it plays."""

    child: Child
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCall:
    """What all clients of a run are told.

    Parameters
    ----------
    server : str
    task : str
    last_round : int or None
    seed : int
    """

    server: str
    task: str
    last_round: int | None
    seed: int


def process_count(clients: int, wanted: int | None, cores: int) -> int:
    """Return how many processes play so many clients.

    Parameters
    ----------
    clients : int
    wanted : int or None
        As the user says; without it one per client as long as they are few, else one per core, at least 2.
    cores : int
        Of the machine.
    """
    if wanted is None:
        wanted = clients if clients <= _MOST_ALONE else max(cores, 2)
    return min(wanted, clients)


def dealt(clients: int, processes: int) -> list[range]:
    """Return the numbers of the clients that each process plays: in turn, so that neighbours are apart."""
    return [range(first, clients, processes) for first in range(processes)]


def client_name(number: int) -> str:
    """Return the name of a client, as the master's cohorts have it."""
    return f"client-{number}"


def start_clients(
    children: Children,
    keys: LocalKeys,
    data: Sequence[Path],
    processes: int,
    call: ClientCall,
    display: Display,
) -> list[ClientProcess]:
    """Start all clients; they wait for their server.

    Parameters
    ----------
    children : Children
    keys : LocalKeys
        Of the run; each process gets its clients' tokens.
    data : sequence of Path
        One per client.
    processes : int
    call : ClientCall
    display : Display
    """
    started = []
    for number, numbers in enumerate(dealt(len(data), processes)):
        names = tuple(client_name(client) for client in numbers)
        alone = len(names) == 1
        name = names[0] if alone else f"clients-{number}"
        flags = {
            "--server": call.server,
            "--task": call.task,
            "--rounds": call.last_round,
            "--seed": call.seed,
            "--grace": GRACE,
            "--state-dir": keys.run.state(names[0]) if alone else keys.run.state(names[0]).parent,
        }
        words = [str(word) for pair in flags.items() if pair[1] is not None for word in pair]
        for client in numbers:
            words += ["--client-id", client_name(client), "--data", str(data[client])]
        # Clients share the machine; torch takes the number of its threads from here before it is told another one.
        environment = {"OMP_NUM_THREADS": "1", **keys.of_clients(name, names)}
        child = children.start(name, ["client", *words, "--json"], environment=environment)
        display.started(name, child.process.pid)
        started.append(ClientProcess(child, names))
    return started
