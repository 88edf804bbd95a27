"""Which shards a split is to write: all, those of some clients, or none; and what initial model that allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtier.problems import StartupError
from fedtier_cli.initial_model import is_made_without_data


def require_consistent(flags: Mapping[str, Any]) -> None:
    """Check that flags do not want two things at once.

    Parameters
    ----------
    flags : Mapping of str to object
        ``only``, ``no_shards`` and ``inventory`` of ``fedtier split``.

    Raises
    ------
    StartupError
    """
    if flags["only"] and flags["no_shards"]:
        raise StartupError("--only and --no-shards are both given; leave one of them")
    if flags["inventory"] is not None and (flags["only"] or flags["no_shards"]):
        flag = "--only" if flags["only"] else "--no-shards"
        raise StartupError(f"--inventory sends every client's shard, and {flag} leaves some out; leave one of them")


def wanted_shards(flags: Mapping[str, Any], clients: int) -> tuple[int, ...] | None:
    """Return the numbers of the clients whose shards are wanted; None where the whole split is.

    Parameters
    ----------
    flags : Mapping of str to object
        As for `require_consistent`.
    clients : int
        Among how many the data are split.

    Raises
    ------
    StartupError
        One names a client that there is not.
    """
    only: Sequence[str] = flags["only"]
    if not (only or flags["no_shards"]):
        return None
    numbers = {f"client-{number}": number for number in range(clients)}
    for client_id in only:
        if client_id not in numbers:
            raise StartupError(
                f"--only {client_id[:140]!r} is none of the clients client-0 ... client-{clients - 1}; "
                "name one of them, or raise --clients"
            )
    return tuple(sorted({numbers[client_id] for client_id in only}))


def require_start(source: str | None, wanted: Sequence[int] | None) -> None:
    """Check that an initial model can be made beside the shards that are wanted.

    Parameters
    ----------
    source : str or None
        Of the initial model, see `fedtier_cli.initial_model`; None where none is made.
    wanted : sequence of int or None
        From `wanted_shards`.

    Raises
    ------
    StartupError
        Nothing would be made at all; or a task of the user's own would miss the shard that it is always handed.
    """
    if wanted is None:
        return
    if source is None:
        if not wanted:
            raise StartupError("--no-shards leaves nothing to make; say by --init-model which model, or leave it out")
    elif 0 not in wanted and not is_made_without_data(source):
        raise StartupError(
            f"the task {source} is handed the shard of client-0 for its initial model, and it is not made; "
            "give --only client-0"
        )
