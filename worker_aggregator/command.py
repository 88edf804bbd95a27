"""``fedtier worker``: the worker aggregator's flags."""

from __future__ import annotations

from pathlib import Path

import click

from fedtier.flags import FiniteRange, bearer_token, command, json_flag, require_address
from fedtier.logs import configure_logging
from fedtier.serving.access import require_loopback, token_verifier
from fedtier.serving.options import server_flags
from fedtier.serving.runner import ServerOptions, serve
from worker_aggregator.app import WorkerOptions, create_worker


@command("worker")
@click.option("--master", required=True, help="Address of the master, or of another worker: http://host:port.")
@click.option("--state-dir", type=click.Path(path_type=Path), required=True, help="Folder of this worker's own.")
@click.option("--batch-max", type=click.IntRange(min=1), default=64, help="Contributors at which a batch is sent.")
@click.option(
    "--batch-age",
    type=FiniteRange(min=0),
    default=0.25,
    help="Seconds after which a batch is sent while more updates still come in.",
)
@click.option("--share-port", is_flag=True, help="Let several workers of this machine listen on one port.")
@server_flags(port=5001)
@json_flag
def worker(
    master: str,
    state_dir: Path,
    batch_max: int,
    batch_age: float,
    share_port: bool,
    host: str,
    port: int,
    threads: int,
    spool_max: int | None,
    grace: int,
    as_json: bool,
) -> None:
    """Check updates, add them up, and forward one partial sum per batch."""
    configure_logging("worker")
    require_address(master, "--master")
    verifier = token_verifier()
    if verifier is None:
        require_loopback(host)
    options = WorkerOptions(
        master=master,
        state_dir=state_dir,
        batch_max=batch_max,
        batch_age=batch_age,
        threads=threads,
        spool_max=spool_max,
        token=bearer_token(),
        verifier=verifier,
    )
    server = ServerOptions(
        "worker", host, port, threads=threads, grace=grace, share_port=share_port, announce_json=as_json
    )
    serve(server, lambda: create_worker(options))
