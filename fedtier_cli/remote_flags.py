"""The flags of a run on other machines, and what cannot be said of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from client.task import BUILT_IN
from fedtier.flags import require_address
from fedtier.problems import StartupError
from fedtier_cli.deploying.connection_flags import key_flag
from fedtier_cli.deploying.site import Site
from fedtier_cli.local_flags import run_choices, tier_settings
from fedtier_cli.training_run import RunOptions
from fedtier_cli.workplace import shown

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_OF_A_SITE: Final = {"server": "--server", "key_path": "--key-path"}
_OF_THIS_MACHINE: Final = {
    "clients": ("--clients", "the inventory says which clients there are, by client_ids"),
    "workers": ("--workers", "the inventory says how many workers there are"),
    "upload_dtype": ("--upload-dtype", "a client's host says it, by FEDTIER_UPLOAD_DTYPE"),
    "processes": ("--processes", "each client is a process of its own on its host"),
}


def site_flags(function: _Decorated) -> _Decorated:
    """Add ``--server``, ``--inventory`` and ``--key-path``."""
    options = [
        click.option(
            "--inventory",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Train on the machines of this Ansible inventory, instead of this one.",
        ),
        click.option(
            "--server",
            metavar="URL",
            help="Address of their workers or load balancer. [default: the inventory's server_url]",
        ),
        key_flag,
    ]
    for option in reversed(options):
        function = option(function)
    return function


def require_fitting(context: click.Context) -> None:
    """Check that no flag is given that means nothing for where the run takes place.

    Raises
    ------
    click.UsageError
    """
    elsewhere = context.params["inventory"] is not None
    if not elsewhere:
        for name, flag in _OF_A_SITE.items():
            # A variable may be there for other commands.
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(
                    f"{flag} belongs to a federation on other machines; name its --inventory too, or leave {flag} out."
                )
        return
    for name, (flag, reason) in _OF_THIS_MACHINE.items():
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"{flag} belongs to a run on this machine: {reason}; leave it out with --inventory.")


def remote_options(flags: Mapping[str, Any], site: Site, inventory: Path, *, last_round: int) -> RunOptions:
    """Return what the flags say of a run on a site.

    Parameters
    ----------
    flags : Mapping of str to object
        With ``task``, None where the site's own is trained.
    site : Site
    inventory : Path
        From which the site follows, for the sentences.
    last_round : int

    Raises
    ------
    StartupError
        A task is not to be had there, or the site has no clients.
    """
    task, clients = flags["task"] or site.task, len(site.clients)
    if task not in BUILT_IN:
        raise StartupError(
            f"the task {task} is not on the hosts, which have {', '.join(BUILT_IN)}; name one of them by --model, or "
            "train it on this machine, without --inventory"
        )
    if not clients:
        raise StartupError(f"the inventory {shown(inventory)} has no clients; add hosts to its group clients")
    if flags["fraction"] is not None and set(site.clients) != {f"client-{number}" for number in range(clients)}:
        raise StartupError(
            f"--fraction draws from client-0 to client-{clients - 1}, and the inventory {shown(inventory)} has clients "
            "of other names; rename them in client_ids, or leave it out"
        )
    threshold = flags["threshold"] or (site.threshold if flags["fraction"] is None else None)
    described = {
        **flags,
        "task": task,
        "clients": clients,
        "threshold": threshold,
        "workers": max(len(site.group("worker_aggregators")), 1),
    }
    tiers = tier_settings(described, task, last_round=last_round)
    return RunOptions(tiers=tiers, clients=clients, **run_choices(flags))


def chosen_address(server: str | None, site: Site) -> str:
    """Return the address that the run asks, checked.

    Raises
    ------
    StartupError
    """
    if server is None:
        return site.server_url
    require_address(server, "--server", plain_http=False)
    return server
