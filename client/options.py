"""What clients are told at their start, and what they take from the machine."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.halves import UploadDtype
from client.metrics import ClientMetrics
from client.stopping import Stopping
from client.transport import DEFAULT_RETRY_BUDGET, DEFAULT_WAIT
from fedtier.fields import require_id
from fedtier.flags import require_address
from fedtier.problems import BadRequest, StartupError
from fedtier.tls import NO_TLS, Tls
from fedtier.token_sources import TokenSource


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """What one client is told at its start.

    Parameters
    ----------
    server : str
        Address of the server one tier up, ``https://host:port``.
    client_id : str
    data : Path
        What the task is handed, for example a shard.
    state_dir : Path
        This client's own; keeps updates until they are settled.
    task : str
        See `client.task.load_task`.
    epochs : int, optional
        Instead of the round's.
    rounds : int, optional
        The last round to reach; without it, go on until the federation is finished.
    wait : float
        Seconds that the server may take to be there.
    retry_budget : float
        Seconds that a later request may go on, its retries included.
    seed : int
        Of the run; every fit gets one derived from it, the client's id and the round.
    upload_dtype : {"float32", "bfloat16", "float16"}
        In which large float32 tensors of an update are sent.
    token : callable, optional
        Returns the token to present to the server.
    tls : Tls
        Shown to the server where it asks for a certificate, and believed of it.
    report : callable, optional
        Gets each fact as a flat mapping that JSON can hold; ``event`` says which.
    """

    server: str
    client_id: str
    data: Path
    state_dir: Path
    task: str = "mnist_cnn"
    epochs: int | None = None
    rounds: int | None = None
    wait: float = DEFAULT_WAIT
    retry_budget: float = DEFAULT_RETRY_BUDGET
    seed: int = 0
    upload_dtype: UploadDtype = "float32"
    token: TokenSource | None = field(default=None, repr=False)
    tls: Tls = NO_TLS
    report: Callable[[Mapping[str, Any]], None] | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a client takes from the machine, so that a test can bring its own.

    Parameters
    ----------
    sleep : callable
        Waits some seconds.
    clock : callable
        Monotonic seconds.
    rng : random.Random
        Spreads polls and retries of many clients.
    stopping : Stopping
        Says when the clients are to stop.
    metrics : ClientMetrics
        Counts what they do.
    """

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)
    stopping: Stopping = field(default_factory=Stopping)
    metrics: ClientMetrics = field(default_factory=lambda: ClientMetrics(time.monotonic))


def require_possible(options: ClientOptions) -> None:
    """Check what can be checked before anything is opened.

    Raises
    ------
    StartupError
    """
    try:
        require_id(options.client_id, "client")
    except BadRequest as problem:
        raise StartupError(f"{problem.detail}; choose another --client-id") from None
    require_address(options.server, "--server", plain_http=options.tls.plain_http)
    if options.epochs is not None and options.epochs < 1:
        raise StartupError(f"--epoch is {options.epochs}; train for at least 1")
    if options.rounds is not None and options.rounds < 0:
        raise StartupError(f"--rounds is {options.rounds}; name a round from 0 on")
    for flag, seconds in (("--wait", options.wait), ("--retry-budget", options.retry_budget)):
        if not seconds >= 0:
            raise StartupError(f"{flag} is {seconds:g} seconds; give 0 or more")
