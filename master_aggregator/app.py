"""The master's HTTP side: the routes that both aggregators have, and the operator's."""

from __future__ import annotations

import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from flask import Flask, Response, g, request

from fedtier.exact import check_arithmetic
from fedtier.metrics_listener import metrics_served
from fedtier.rounds import RoundStatus
from fedtier.serving.access import Gate, require
from fedtier.serving.front.connection_watch import ConnectionWatch
from fedtier.serving.operations import OPERATOR, SHARED
from fedtier.serving.runner import Service, stop_at_once, stop_gracefully
from fedtier.serving.shell import create_app
from fedtier.serving.statedir import StateDirectory
from fedtier.serving.uploads import parse_round
from fedtier.store import RoundStore
from fedtier.tokens import Verifier
from master_aggregator.aggregator import MasterAggregator, Surroundings
from master_aggregator.metrics import MasterMetrics
from master_aggregator.planning import Rules
from master_aggregator.scoreboard import Scoreboard

LINGER: Final = 5.0
"""Seconds a finished master goes on answering, so that everyone who polls learns that it is finished."""


@dataclass(frozen=True, slots=True)
class MasterOptions:
    """What a master is started with.

    Parameters
    ----------
    bucket_name, bucket_key : str
    state_dir : Path
    rules : Rules
    redirect_models, exit_when_finished : bool
    threads : int
    spool_max : int or None
        Bytes that bodies may take in the spool; None is half of the disk.
    verifier : Verifier or None
    client_certs : bool
        Whether whoever comes needs a certificate beside the token.
    tensorboard_dir : Path or None
        Where TensorBoard's file is written; None writes none.
    metrics_host : str
    metrics_port : int or None
        Where metrics are served besides ``/metrics``; None is nowhere.
    """

    bucket_name: str
    bucket_key: str
    state_dir: Path
    rules: Rules
    redirect_models: bool
    exit_when_finished: bool
    threads: int
    verifier: Verifier | None
    client_certs: bool
    tensorboard_dir: Path | None
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    spool_max: int | None = None


def create_master(options: MasterOptions) -> Service:
    """Start a master aggregator; returns what is to be served.

    Raises
    ------
    StartupError
    """
    check_arithmetic()
    state = StateDirectory(options.state_dir, stop_at_once, spool_max=options.spool_max)
    state.clear_spool()
    ended = threading.Event()

    def finished() -> None:
        if options.exit_when_finished:
            threading.Thread(target=_exit_later, args=(ended,), name="exit", daemon=True).start()

    store = RoundStore(options.bucket_name, options.bucket_key)
    folder = options.tensorboard_dir
    metrics = MasterMetrics()
    tier = MasterAggregator(
        store,
        state,
        options.rules,
        metrics,
        Surroundings(clock=lambda: datetime.now(UTC), rng=random.SystemRandom(), die=stop_at_once, finished=finished),
        redirect_models=options.redirect_models,
        scoreboard=None if folder is None else Scoreboard(store, folder.absolute()),
    )
    gate = Gate(options.verifier, client_certs=options.client_certs)
    app = master_app(tier, gate, state, metrics, threads=options.threads)
    watch = ConnectionWatch(metrics.connections, time.monotonic)
    with ExitStack() as ending:
        ending.enter_context(metrics_served(metrics, options.metrics_host, options.metrics_port))
        tier.start()
        ending.callback(state.delete_spares)
        ending.callback(tier.close)
        ending.callback(ended.set)
        return Service(app, ending.pop_all().close, watch)


def _exit_later(ended: threading.Event) -> None:
    if not ended.wait(LINGER):
        stop_gracefully()


def master_app(
    tier: MasterAggregator, gate: Gate, state: StateDirectory, metrics: MasterMetrics, *, threads: int
) -> Flask:
    """Build the app around a master; see `fedtier.serving.shell.create_app`."""
    app = create_app(__name__, tier, gate, state, metrics, threads=threads, operations=(*SHARED, *OPERATOR))

    def require_operator() -> None:
        require(g.bearer, roles={"operator"})
        by = None if g.bearer is None else g.bearer.subject
        structlog.get_logger().info("the operator asks", path=request.path, by=by, address=request.remote_addr)

    @app.post("/v1/rounds/<number>/close")
    def close(number: str) -> Response:
        require_operator()
        return _status(tier.close_round(parse_round(number)))

    @app.post("/v1/pause")
    def pause() -> Response:
        require_operator()
        return _status(tier.pause(True))

    @app.post("/v1/resume")
    def resume() -> Response:
        require_operator()
        return _status(tier.pause(False))

    return app


def _status(status: RoundStatus) -> Response:
    return Response(status.to_json(), content_type="application/json")
