"""The worker's HTTP side: every route is one that both aggregators have."""

from __future__ import annotations

import random
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from fedtier.exact import check_arithmetic
from fedtier.metrics_listener import metrics_served
from fedtier.serving.access import Gate
from fedtier.serving.front.connection_watch import ConnectionWatch
from fedtier.serving.runner import Service, stop_at_once
from fedtier.serving.shell import create_app
from fedtier.serving.statedir import StateDirectory
from fedtier.tls import NO_TLS, Tls
from fedtier.token_sources import TokenSource
from fedtier.tokens import Verifier
from fedtier.upstream import Upstream
from worker_aggregator.aggregator import WorkerAggregator
from worker_aggregator.batch import Batcher
from worker_aggregator.metrics import WorkerMetrics


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker is started with.

    Parameters
    ----------
    master : str
        Address of the upstream: the master, or a worker in a deeper tree.
    state_dir : Path
    batch_max : int
        Contributors at which a batch is sent.
    batch_age : float
        Seconds after which it is sent at the latest.
    threads : int
    spool_max : int or None
        Bytes that bodies may take in the spool; None is half of the disk.
    token : callable or None
        Returns the token to present to the upstream.
    verifier : Verifier or None
        Of those who come here.
    tls : Tls
        Shown to the upstream, and believed of it.
    client_certs : bool
        Whether those who come here need a certificate beside their token.
    metrics_host : str
    metrics_port : int or None
        Where metrics are served besides ``/metrics``; None is nowhere.
    """

    master: str
    state_dir: Path
    batch_max: int
    batch_age: float
    threads: int
    token: TokenSource | None = field(repr=False)
    verifier: Verifier | None
    tls: Tls = NO_TLS
    client_certs: bool = False
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    spool_max: int | None = None


def create_worker(options: WorkerOptions) -> Service:
    """Start a worker aggregator; returns what is to be served.

    Raises
    ------
    StartupError
    """
    check_arithmetic()
    state = StateDirectory(options.state_dir, stop_at_once, spool_max=options.spool_max)
    state.clear_spool()
    batcher = Batcher(batch_max=options.batch_max, batch_age=options.batch_age, new_id=lambda: secrets.token_hex(16))
    metrics = WorkerMetrics(time.monotonic)
    tier = WorkerAggregator(
        lambda: Upstream(options.master, token=options.token, tls=options.tls),
        state,
        batcher,
        metrics,
        clock=time.monotonic,
        rng=random.SystemRandom(),
    )
    gate = Gate(options.verifier, client_certs=options.client_certs)
    app = create_app(__name__, tier, gate, state, metrics, threads=options.threads)
    watch = ConnectionWatch(metrics.connections, time.monotonic)
    with ExitStack() as ending:
        ending.enter_context(metrics_served(metrics, options.metrics_host, options.metrics_port))
        tier.start()
        ending.callback(state.delete_spares)
        ending.callback(tier.close)
        return Service(app, ending.pop_all().close, watch)
