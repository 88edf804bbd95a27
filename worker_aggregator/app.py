"""The worker's HTTP side: every route is one that both aggregators have."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flask import Flask

from fedtier.exact import check_arithmetic
from fedtier.serving.access import Gate
from fedtier.serving.runner import stop_at_once
from fedtier.serving.shell import create_app
from fedtier.serving.statedir import StateDirectory
from fedtier.tokens import TokenVerifier
from fedtier.upstream import Upstream
from worker_aggregator.aggregator import WorkerAggregator
from worker_aggregator.batch import Batcher


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
    token : str or None
        Presented to the upstream.
    verifier : TokenVerifier or None
        Of those who come here.
    """

    master: str
    state_dir: Path
    batch_max: int
    batch_age: float
    threads: int
    spool_max: int | None
    token: str | None
    verifier: TokenVerifier | None


def create_worker(options: WorkerOptions) -> tuple[Flask, Callable[[], None]]:
    """Start a worker aggregator; returns its app and what ends it.

    Raises
    ------
    StartupError
    """
    check_arithmetic()
    state = StateDirectory(options.state_dir, stop_at_once, spool_max=options.spool_max)
    state.clear_spool()
    batcher = Batcher(batch_max=options.batch_max, batch_age=options.batch_age, new_id=lambda: secrets.token_hex(16))
    tier = WorkerAggregator(
        lambda: Upstream(options.master, token=options.token),
        state,
        batcher,
        clock=time.monotonic,
        rng=random.SystemRandom(),
    )
    app = create_app(__name__, tier, Gate(options.verifier), state, threads=options.threads)
    tier.start()
    return app, tier.close
