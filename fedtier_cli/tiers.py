"""The servers of a local run: the embedded S3, one master, and workers that listen on one port."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fedtier.bucket import connect
from fedtier.problems import StartupError
from fedtier.rounds import ClientSettings
from fedtier.store import RoundStore
from fedtier_cli.local_keys import LocalKeys
from fedtier_cli.processes import Child, Children, Ended, Event, Fact, RunFailed, has_ended
from fedtier_cli.run_store import RunStore
from fedtier_cli.rundir import Federation, RunDirectory, label
from fedtier_cli.seaweed import HOST, REGION, Seaweed
from fedtier_cli.seaweed_credentials import Credentials
from master_aggregator.planning import cohort_size

_START_SECONDS: Final = 120.0
GRACE: Final = "5"
"""Seconds for what is under way when a run ends; clients end first, and what was not counted they send again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the master draws each round's cohort.

    Parameters
    ----------
    clients : int
        Drawn from: ``client-0`` and so on.
    fraction : float
        In [0, 1], the part of them that is drawn, at least one.
    seed : int
    """

    clients: int
    fraction: float
    seed: int

    @property
    def cohort_size(self) -> int:
        """How many clients a round draws."""
        return cohort_size(self.clients, self.fraction)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSettings:
    """What the servers are told.

    Parameters
    ----------
    task : str
    workers : int
    threshold : int
        Clients at which a round closes.
    last_round : int or None
    sampling : Sampling or None
        Where it is None, every client may take part in every round.
    client : ClientSettings
        How clients train in round 1.
    lr_decay : float
        Factor of the learning rate from round to round.
    """

    task: str
    workers: int
    threshold: int
    last_round: int | None
    sampling: Sampling | None = None
    client: ClientSettings = field(default_factory=ClientSettings)
    lr_decay: float = 1.0

    @property
    def bucket_key(self) -> str:
        """Key of the newest model's copy."""
        return f"jobs/{label(self.task)}.safetensors"


class EmbeddedStore(RunStore):
    """The embedded S3 of a run and what is published in it.

    Parameters
    ----------
    server : Seaweed
        Running.
    bucket_key : str
    log : Path
    """

    def __init__(self, server: Seaweed, bucket_key: str, log: Path) -> None:
        super().__init__(embedded_rounds(server.endpoint, server.bucket, bucket_key, server.credentials))
        self.server = server
        self.log = log

    def require_alive(self) -> None:
        """Raise `RunFailed` when the server has ended by itself."""
        if has_ended(self.server.pid):
            raise RunFailed(f"s3 (the embedded SeaweedFS) ended; its log is {self.log}")


def embedded_rounds(endpoint: str, bucket: str, bucket_key: str, credentials: Credentials) -> RoundStore:
    """Return the published rounds in an embedded S3 server."""
    client = connect(
        endpoint=endpoint, access_key=credentials.access_key, secret_key=credentials.secret_key, region=REGION
    )
    return RoundStore(bucket, bucket_key, client=client)


@contextmanager
def embedded_store(run: RunDirectory, federation: Federation) -> Iterator[EmbeddedStore]:
    """Run the embedded S3 of a run directory, and note in the directory where it is.

    Raises
    ------
    StartupError
    """
    log = run.logs / "s3.log"
    try:
        run.logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"the run directory {run.path} cannot be used: {error.strerror}; choose another") from None
    with Seaweed(run.s3, bucket=federation.bucket, log=log) as server:
        run.write_federation(federation.model_copy(update={"endpoint": server.endpoint}))
        yield EmbeddedStore(server, federation.bucket_key, log)


@contextmanager
def shared_port(port: int) -> Iterator[int]:
    """Hold a port of loopback on which several workers may listen; 0 takes a free one.

    Raises
    ------
    StartupError
        Somebody listens on it.
    """
    try:
        with socket.socket() as probe:
            # Without SO_REUSEPORT, so that the workers of another federation are noticed.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
        placeholder = socket.socket()
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        placeholder.bind((HOST, port))
    except OSError as error:
        raise StartupError(
            f"the workers cannot listen on {HOST}:{port} ({error.strerror}); choose another --port"
        ) from None
    with placeholder:
        yield placeholder.getsockname()[1]


def start_master(
    children: Children,
    run: RunDirectory,
    settings: TierSettings,
    store: EmbeddedStore,
    keys: LocalKeys,
    initial_model: Path | None,
) -> Child:
    """Start the master; without an initial model where one is published already."""
    flags = {
        "--bucket-name": store.server.bucket,
        "--bucket-key": settings.bucket_key,
        "--state-dir": run.state("master"),
        "--port": 0,
        **training_flags(settings),
        "--web-model": initial_model,
        "--grace": GRACE,
    }
    environment = {**store.server.environment(), **keys.of_servers}
    return children.start("master", _arguments("master", flags), environment=environment)


def training_flags(settings: TierSettings) -> dict[str, object]:
    """Return what a master is told of a training run, by its flags; None where one is left out."""
    return {
        "--threshold": settings.threshold,
        "--rounds": settings.last_round,
        **_sampling_flags(settings.sampling),
        **_client_flags(settings.client),
        "--lr-decay": settings.lr_decay,
    }


def _sampling_flags(sampling: Sampling | None) -> dict[str, object]:
    if sampling is None:
        return {}
    return {"--clients": sampling.clients, "--fraction": sampling.fraction, "--seed": sampling.seed}


def _client_flags(client: ClientSettings) -> dict[str, object]:
    return {
        "--epoch": client.epochs,
        "--batch-size": client.batch_size,
        "--lr": client.lr,
        "--optimizer": client.optimizer,
        "--momentum": client.momentum,
        "--weight-decay": client.weight_decay,
        "--prox-mu": client.prox_mu,
    }


def start_workers(children: Children, keys: LocalKeys, workers: int, master_url: str, port: int) -> list[Child]:
    """Start the workers, all on one port."""
    started = []
    for number in range(workers):
        name = f"worker-{number}"
        flags = {"--master": master_url, "--state-dir": keys.run.state(name), "--port": port, "--grace": GRACE}
        arguments = [*_arguments("worker", flags), "--share-port"]
        started.append(children.start(name, arguments, environment=keys.of_workers))
    return started


def await_addresses(children: Children, servers: list[Child], see: Callable[[Event], None]) -> list[str]:
    """Wait until servers listen, and return their URLs.

    Parameters
    ----------
    children : Children
    servers : list of Child
    see : callable
        Gets everything else that happens meanwhile.

    Raises
    ------
    RunFailed
        One ended, or took too long.
    """
    urls: dict[Child, str] = {}
    deadline = time.monotonic() + _START_SECONDS
    while missing := [server for server in servers if server not in urls]:
        match children.next_event(deadline - time.monotonic()):
            case None:
                raise missing[0].failure(f"did not listen within {_START_SECONDS:g} s")
            case Fact(child, members) if child in servers and members["event"] == "listening":
                urls[child] = str(members["url"])
            case Ended(child, status) if child in servers:
                raise child.ended(status)
            case event:
                see(event)
    return [urls[server] for server in servers]


def _arguments(program: str, flags: dict[str, object]) -> list[str]:
    given = [(name, str(value)) for name, value in flags.items() if value is not None]
    return [program, *(word for pair in given for word in pair), "--json"]
