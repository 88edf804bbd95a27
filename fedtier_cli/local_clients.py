"""The clients of a local run: which of them share a process, their start, and their end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from client.halves import UploadDtype
from fedtier_cli.display import Display
from fedtier_cli.local_keys import LocalKeys
from fedtier_cli.processes import Child, Children, Ended, Event, Fact, status_in_words
from fedtier_cli.progress import named
from fedtier_cli.run_clients import Clients
from fedtier_cli.tiers import GRACE

_MOST_ALONE: Final = 16
"""Up to so many clients have a process each; a process with torch takes 200 MB and some seconds to start."""


@dataclass(frozen=True, slots=True)
class ClientProcess:
    """A process and the names of the clients that it plays."""

    child: Child
    names: tuple[str, ...]


class LocalClients(Clients):
    """Clients as processes of this run.

    Parameters
    ----------
    children : Children
    processes : sequence of ClientProcess
        Each client is in one of them.
    """

    def __init__(self, children: Children, processes: Sequence[ClientProcess]) -> None:
        super().__init__([name for process in processes for name in process.names])
        self._children = children
        self._players = {process.child: process.names for process in processes}
        self._running = set(self._players)

    @property
    def is_running(self) -> bool:
        """Whether any of their processes runs."""
        return bool(self._running)

    def takes(self, event: Event) -> bool:
        """Take note of what a process did; a client that stops early fails the run."""
        names = self._players.get(event.child)
        if names is None:
            return False
        match event:
            case Fact(child, members):
                _require_going_on(child, names, members)
            case Ended(child, 0):
                self._running.discard(child)
            case Ended(child, status) if len(names) > 1:
                raise child.failure(f"with {named(names)} ended {status_in_words(status)}")
            case Ended(child, status):
                raise child.ended(status)
        return True

    def tend(self, now: float, published: int) -> None:
        """Do nothing: what a process does is an event."""

    def stop(self) -> None:
        """End the processes."""
        self._children.stop("client")

    def having(self, wanted: int) -> str:
        """Return the flag."""
        return f"call with --clients {wanted} until it is published"

    @property
    def having_others(self) -> str:
        """The flag, as it was."""
        return "call with the --clients of that call until it is published"


def _require_going_on(child: Child, names: Sequence[str], members: Mapping[str, Any]) -> None:
    """Notice a client that stopped and whose process goes on with others; one that is alone ends its process."""
    if members["event"] == "finished" and not members.get("ok", True) and len(names) > 1:
        raise child.failure(f"plays {members['client_id']}, which stopped: {members['detail']}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCall:
    """What all clients of a run are told.

    Parameters
    ----------
    server : str
    task : str
    last_round : int or None
    seed : int
    upload_dtype : {"float32", "bfloat16", "float16"}
    """

    server: str
    task: str
    last_round: int | None
    seed: int
    upload_dtype: UploadDtype


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
            "--upload-dtype": call.upload_dtype,
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
