"""``fedtier s3``: the embedded S3 server as a service of its own, for sites without S3."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click

from fedtier.flags import command, json_flag
from fedtier.logs import configure_logging
from fedtier.problems import StartupError
from fedtier.urls import is_loopback
from fedtier_cli.credentials import read_s3_credentials
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.seaweed import HOST, S3_PLACE, Seaweed, free_ports

_LOOK_SECONDS: Final = 3600.0


@command("s3")
@click.option("--bucket-name", required=True, help="S3 bucket; made unless it is there.")
@click.option("--state-dir", type=click.Path(path_type=Path), required=True, help="Folder of all that it stores.")
@click.option(
    "--credentials",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File with the access key and the secret key, s3.json of fedtier credentials.",
)
@click.option("--host", default=HOST, help="Address of loopback to listen on; a proxy before it does TLS.")
@click.option("--port", type=click.IntRange(1, 65535), default=8333, help="Port to listen on.")
@json_flag
def s3(bucket_name: str, state_dir: Path, credentials: Path, host: str, port: int, as_json: bool) -> None:
    """Run an S3 server, SeaweedFS, for a federation that has none.

    It speaks no TLS, so it listens on loopback only, for a proxy on the same machine. Ends with status 0 at SIGTERM.
    """
    configure_logging("s3")
    if not is_loopback(host):
        raise StartupError(
            f"--host {host} is not a loopback address, and without TLS whoever is on the way reads and changes models; "
            f"use --host {HOST}, and a proxy that does TLS"
        )
    pair = read_s3_credentials(credentials)
    server = Seaweed(
        state_dir,
        bucket=bucket_name,
        log=None,
        credentials=pair,
        choose_ports=_ports(port),
        host=host,
    )
    with ended_by_signals("the S3 server", status=0), server:
        address = {"event": "listening", "program": "s3", "url": server.endpoint}
        print(json.dumps(address) if as_json else f"fedtier s3 listening on {server.endpoint}", flush=True)
        while (status := server.wait(_LOOK_SECONDS)) is None:
            pass
    raise StartupError(f"the S3 server ended with status {status}")


def _ports(port: int) -> Callable[[int], Sequence[int]]:
    def choose(count: int) -> list[int]:
        found = free_ports(count - 1)
        return [*found[:S3_PLACE], port, *found[S3_PLACE:]]

    return choose
