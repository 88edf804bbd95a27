"""``fedtier credentials``: all keys, certificates and tokens of a federation on several machines."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from fedtier.claims import DEFAULT_AUDIENCE
from fedtier.fields import CLIENT_ID
from fedtier.flags import FiniteRange, command, json_flag, require_audience
from fedtier.problems import StartupError
from fedtier_cli.authority import normal_name
from fedtier_cli.credentials import CredentialFolder, Members

_SERVER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
"""Names of machines, which are names of files here."""


@command("credentials")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--federation",
    default=DEFAULT_AUDIENCE,
    callback=require_audience,
    help="Its name: the audience of its tokens.",
)
# Variables of these names say to other commands where a server is, and who they are.
@click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="NAME=ADDRESS[,ADDRESS...]",
    allow_from_autoenv=False,
    help="A machine with servers, and the names and addresses at which others ask it; once per machine.",
)
@click.option("--worker", "workers", multiple=True, allow_from_autoenv=False, help="A worker's name; once per worker.")
@click.option("--client", "clients", multiple=True, allow_from_autoenv=False, help="A client's id; once per client.")
@click.option(
    "--days",
    type=FiniteRange(min=0, min_open=True, max=3650),
    default=365,
    help="How long tokens and servers' certificates are good.",
)
@json_flag
def credentials(
    folder: Path,
    federation: str,
    servers: tuple[str, ...],
    workers: tuple[str, ...],
    clients: tuple[str, ...],
    days: float,
    as_json: bool,
) -> None:
    """Make keys, an authority, certificates and tokens of a federation's members in DIR.

    Made is what is missing, what has less than a third of its life left, and certificates of machines whose addresses
    changed; whatever else is there stays as it is. DIR is for its owner alone.
    """
    members = Members(
        federation=federation,
        servers=dict(_server(given) for given in servers),
        workers=_subjects("--worker", workers),
        clients=_subjects("--client", clients),
    )
    made = CredentialFolder(folder, datetime.now(UTC), timedelta(days=days)).make(members)
    if as_json:
        print(json.dumps({"event": "credentials", "made": made}))
        return
    for path in made:
        print(folder / path)
    if not made:
        print(f"{folder}  is complete, and nothing in it is about to expire")


def _server(given: str) -> tuple[str, list[str]]:
    name, equals, addresses = given.partition("=")
    if not (equals and _SERVER.fullmatch(name)):
        raise StartupError(f"--server {given[:200]!r} is not of the form NAME=ADDRESS[,ADDRESS...]")
    return name, [normal_name(address) for address in addresses.split(",") if address]


def _subjects(flag: str, names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if not CLIENT_ID.fullmatch(name):
            raise StartupError(f"{flag} {name[:140]!r} does not match {CLIENT_ID.pattern}")
    return names
