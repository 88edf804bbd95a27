"""The master's HTTP side: the routes that both aggregators have, and the operator's."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from flask import Flask, Response, g

from fedtier.exact import check_arithmetic
from fedtier.rounds import RoundStatus
from fedtier.serving.access import Gate, require
from fedtier.serving.runner import stop_at_once, stop_gracefully
from fedtier.serving.shell import create_app, parse_round
from fedtier.serving.statedir import StateDirectory
from fedtier.store import RoundStore
from fedtier.tokens import TokenVerifier
from master_aggregator.aggregator import MasterAggregator, Surroundings
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
    verifier : TokenVerifier or None
    tensorboard_dir : Path or None
        Where TensorBoard's file is written; None writes none.
    """

    bucket_name: str
    bucket_key: str
    state_dir: Path
    rules: Rules
    redirect_models: bool
    exit_when_finished: bool
    threads: int
    spool_max: int | None
    verifier: TokenVerifier | None
    tensorboard_dir: Path | None


def create_master(options: MasterOptions) -> tuple[Flask, Callable[[], None]]:
    """Start a master aggregator; returns its app and what ends it.

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
    tier = MasterAggregator(
        store,
        state,
        options.rules,
        Surroundings(clock=lambda: datetime.now(UTC), rng=random.SystemRandom(), die=stop_at_once, finished=finished),
        redirect_models=options.redirect_models,
        scoreboard=None if folder is None else Scoreboard(store, folder.absolute()),
    )
    app = master_app(tier, Gate(options.verifier), state, threads=options.threads)
    tier.start()

    def close() -> None:
        ended.set()
        tier.close()

    return app, close


def _exit_later(ended: threading.Event) -> None:
    if not ended.wait(LINGER):
        stop_gracefully()


def master_app(tier: MasterAggregator, gate: Gate, state: StateDirectory, *, threads: int) -> Flask:
    """Build the app around a master; see `fedtier.serving.shell.create_app`."""
    app = create_app(__name__, tier, gate, state, threads=threads)

    def require_operator() -> None:
        require(g.bearer, roles={"operator"})

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
