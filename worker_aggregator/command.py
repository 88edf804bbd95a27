"""``fedtier worker``: the worker aggregator's flags."""

from __future__ import annotations

from pathlib import Path

import click

from fedtier.flags import FiniteRange, command, json_flag, require_address
from fedtier.logs import configure_logging
from fedtier.metrics_listener import metrics_flags
from fedtier.serving.access import require_guard
from fedtier.serving.front.limits import Limits
from fedtier.serving.options import server_flags
from fedtier.serving.runner import ServerOptions, serve
from fedtier.serving.verify_keys import TokenRules, token_verifier
from fedtier.tls import Tls, server_context, tls_flags
from fedtier.token_sources import log_warning, single_token, token_place
from worker_aggregator.app import WorkerOptions, create_worker


@command("worker")
@click.option("--master", required=True, help="Address of the master, or of another worker: https://host:port.")
@click.option("--state-dir", type=click.Path(path_type=Path), required=True, help="Folder of this worker's own.")
@click.option(
    "--batch-max",
    type=click.IntRange(min=1),
    default=64,
    help="Updates or partials at which a batch is sent; fewer of models above 67 MB.",
)
@click.option(
    "--batch-age",
    type=FiniteRange(min=0),
    default=0.25,
    help="Seconds after which a batch is sent while more updates still come in.",
)
@click.option("--share-port", is_flag=True, help="Let several workers of this machine listen on one port.")
@server_flags(port=5001)
@tls_flags
@metrics_flags
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
    min_rate: int,
    require_client_certs: bool,
    tls: Tls,
    revoked: Path | None,
    audience: str,
    metrics_host: str,
    metrics_port: int | None,
    as_json: bool,
) -> None:
    """Check updates, add them up, and forward one partial sum per batch.

    FEDTIER_VERIFY_KEYS names the public keys that tokens are verified with (fedtier keygen makes a pair); without it
    whoever is on this machine may take part, and nobody else. FEDTIER_TOKEN_FILE names the file of the worker's own
    token (fedtier token makes one), or FEDTIER_TOKEN holds it.
    """
    configure_logging("worker")
    require_address(master, "--master", plain_http=tls.plain_http)
    verifier = token_verifier(TokenRules(audience=audience, revoked=revoked))
    require_guard(host, has_keys=verifier is not None, tls=tls, client_certs=require_client_certs)
    options = WorkerOptions(
        master=master,
        state_dir=state_dir,
        batch_max=batch_max,
        batch_age=batch_age,
        threads=threads,
        spool_max=spool_max,
        token=single_token(token_place(), warn=log_warning),
        verifier=verifier,
        tls=tls,
        client_certs=require_client_certs,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
    )
    server = ServerOptions(
        "worker",
        host,
        port,
        threads=threads,
        grace=grace,
        share_port=share_port,
        announce_json=as_json,
        limits=Limits(files=min(batch_max, threads), min_rate=min_rate),
        tls=server_context(tls, client_certs=require_client_certs),
    )
    serve(server, lambda: create_worker(options))
