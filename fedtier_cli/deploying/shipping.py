"""Sends each client's shard to the host it runs on, and checks the SHA-256 of what arrived there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedtier.problems import StartupError
from fedtier.upstream import file_sha256
from fedtier_cli.deploying.ansible_run import See
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.plays import HostDone, ItemDone, Outcome, PlayEvent
from fedtier_cli.deploying.site import Site
from fedtier_cli.progress import named
from fedtier_cli.situation import plural

_SEND: Final = "Send what differs"
_COMPUTE: Final = "Compute SHA-256"


@dataclass(frozen=True, slots=True)
class Sent:
    """A shard that is on its host, whole.

    Parameters
    ----------
    client_id, host : str
    sha256 : str
        Of the file there.
    size : int
        In bytes.
    is_new : bool
        Whether it was sent now; otherwise the host had it already.
    """

    client_id: str
    host: str
    sha256: str
    size: int
    is_new: bool


def shards_of_clients(site: Site, shards: Sequence[Path]) -> dict[str, Path]:
    """Return which client gets which shard.

    Where the clients are called ``client-0``, ``client-1``, ... each gets the shard of its number, as in a local run;
    otherwise they get them in the inventory's order.

    Parameters
    ----------
    site : Site
    shards : sequence of Path
        That of ``client-0`` first.

    Raises
    ------
    StartupError
        There are more or fewer shards than clients.
    """
    ids = list(site.clients)
    if len(ids) != len(shards):
        raise StartupError(
            f"the inventory has {plural(len(ids), 'client')} ({named(ids)}), and the data are split among {len(shards)}"
            "; split them among as many, or mend client_ids in the inventory"
        )
    numbered = [f"client-{number}" for number in range(len(shards))]
    return dict(zip(numbered if set(numbered) == set(ids) else ids, shards, strict=True))


def send_shards(
    playbooks: Playbooks, shards: Mapping[str, Path], *, timeout: float | None = None, see: See | None = None
) -> list[Sent]:
    """Send shards to the hosts of their clients; one that is there already is not sent again.

    Parameters
    ----------
    playbooks : Playbooks
    shards : Mapping of str to Path
        By the client's id.
    timeout : float, optional
        Seconds for all of it.
    see : callable, optional
        Gets every event of the playbook.

    Returns
    -------
    list of Sent
        In the order of `shards`.

    Raises
    ------
    StartupError
        A host cannot be reached or is not set up, no host has one of the clients, or what arrived is not what was sent.
    """
    digests = {client: file_sha256(path) for client, path in shards.items()}
    new: set[str] = set()
    there: dict[str, Sent] = {}

    def watch(event: PlayEvent) -> None:
        if isinstance(event, ItemDone) and event.task == _SEND and event.outcome is Outcome.CHANGED:
            new.add(str(event.item))
        if isinstance(event, HostDone) and event.task == _COMPUTE:
            for one in event.result.get("results", ()):
                client, stat = str(one["item"]), one.get("stat", {})
                digest, size = str(stat.get("checksum")), int(stat.get("size", 0))
                there[client] = Sent(client, event.host, digest, size, client in new)
        if see is not None:
            see(event)

    paths = {client: {"path": str(path.resolve()), "sha256": digests[client]} for client, path in shards.items()}
    playbooks.run("data", extra_vars={"shards": paths}, timeout=timeout, see=watch)
    nowhere = [client for client in shards if client not in there]
    if nowhere:
        raise StartupError(
            f"no host of {playbooks.inventory} runs {named(nowhere)}, so the shard stays here; add it to the "
            "client_ids of a host in the group clients"
        )
    return [there[client] for client in shards]
