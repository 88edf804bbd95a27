"""What every local run needs: a folder, data, keys, an initial model, the embedded S3, and the servers' processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from client.datasets.catalogue import Origin
from client.datasets.known_files import Progress
from client.datasets.mnist import public_sources
from client.datasets.partition import Partition
from client.datasets.shards import client_shard
from client.task import BUILT_IN, AssessingTask, EvaluatingTask, Task, load_task
from fedtier.problems import StartupError
from fedtier.upstream import file_sha256
from fedtier_cli.client_data import ClientData, prepare_data
from fedtier_cli.display import Display
from fedtier_cli.initial_model import write_initial_model
from fedtier_cli.local_keys import LocalKeys, local_keys
from fedtier_cli.processes import Children, Event
from fedtier_cli.rundir import BUCKET, Federation, RunDirectory, claimed, first_free, label
from fedtier_cli.tiers import (
    EmbeddedStore,
    TierSettings,
    await_addresses,
    embedded_store,
    start_master,
    start_workers,
)
from fedtier_cli.workplace import child_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """What a local run is told at its start.

    Parameters
    ----------
    tiers : TierSettings
    clients : int
    processes : int
        That play the clients.
    seed : int
        Of the split, the initial model, the sampling and the clients' training.
    partition : Partition
        How a built-in data set is split.
    data_dir : Path or None
        See `fedtier_cli.client_data`.
    rows : tuple of str
        Files or URLs of the tabular data set.
    run_dir : Path or None
        By default the first free one of the task's own.
    """

    tiers: TierSettings
    clients: int
    processes: int
    seed: int
    partition: Partition
    data_dir: Path | None
    rows: tuple[str, ...]
    run_dir: Path | None

    @property
    def task(self) -> str:
        """The task, as `client.task.load_task` takes it."""
        return self.tiers.task


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a local run takes from outside.

    Parameters
    ----------
    home : Path
        Under which run directories and cached data lie.
    environment : Mapping of str to str
    clock : callable
        Monotonic seconds.
    now : callable
        The time, with a time zone.
    """

    home: Path
    environment: Mapping[str, str]
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class LocalRun:
    """A claimed run directory with its data, its keys, a running S3, and room for processes."""

    options: LocalOptions
    directory: RunDirectory
    data: ClientData
    store: EmbeddedStore
    keys: LocalKeys
    children: Children
    newest_round: int | None
    """The newest published round when the run started; None where nothing is published."""
    is_testable: bool
    """Whether the task can say how good a model is."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether the run took another directory than the task's usual one, without being told to."""
        return self.options.run_dir is None and self.directory.path.name != label(self.options.task)


@contextmanager
def prepared(options: LocalOptions, surroundings: Surroundings, display: Display) -> Iterator[LocalRun]:
    """Claim a run directory, make data and keys ready and start S3; everything ends with the block, in order.

    Raises
    ------
    StartupError
        An option cannot be, or something that is needed cannot be had.
    """
    _require_possible(options)
    with ExitStack() as held:
        directory = _claim(options, surroundings, display, held)
        directory.require_task(options.task)
        data = _data(options, surroundings, directory, display)
        # What is wrong with a task of the user's own is told before anything runs.
        is_testable = options.task in BUILT_IN or _is_testable(options.task, data)
        keys = local_keys(directory, surroundings.now())
        display.step("starting S3")
        federation = Federation(
            task=options.task, bucket=BUCKET, bucket_key=options.tiers.bucket_key, test_data=str(data.test)
        )
        store = held.enter_context(embedded_store(directory, federation))
        display.started("s3", store.server.pid)
        newest = store.newest_round()
        children = held.enter_context(Children(directory.logs, child_environment(surroundings.environment)))
        yield LocalRun(options, directory, data, store, keys, children, newest, is_testable)


def _data(options: LocalOptions, surroundings: Surroundings, directory: RunDirectory, display: Display) -> ClientData:
    before = _print_of(directory.shards)
    data = prepare_data(
        options.task,
        clients=options.clients,
        seed=options.seed,
        partition=options.partition,
        origin=Origin(
            cache=surroundings.home / ".fedtier" / "data",
            data_dir=options.data_dir,
            rows=options.rows,
            sources=public_sources(surroundings.environment),
            progress=_fetching(display),
        ),
        shards=directory.shards,
    )
    if before is not None and before != _print_of(directory.shards):
        display.note(
            "the clients' data are split anew, since their number, the seed, the partition or the data changed; "
            "what a client had trained already for the open round still counts"
        )
    return data


def _print_of(shards: Path) -> tuple[int, str] | None:
    """Return what tells two splits apart: how many shards there are, and the digest of the first."""
    found = list(shards.glob("client-*.safetensors"))
    first = client_shard(shards, 0)
    return (len(found), file_sha256(first)) if first in found else None


def _is_testable(task: str, data: ClientData) -> bool:
    """Check before hours of training that a task can be made, also with what its models are going to be tested on."""
    load_task(task, data.clients[0])
    try:
        tested: Task = load_task(task, data.test)
    except StartupError as error:
        reason = str(error).rstrip(".")
        raise StartupError(
            f"{reason}. The models are tested on {data.test}; put test data beside the clients' as test, "
            "or test.<extension>"
        ) from None
    return isinstance(tested, EvaluatingTask | AssessingTask)


def start_servers(run: LocalRun, port: int, display: Display, see: Callable[[Event], None]) -> tuple[str, str]:
    """Start master and workers, and return the master's URL and the workers' common one.

    Parameters
    ----------
    run : LocalRun
    port : int
        The workers', held by the caller.
    display : Display
    see : callable
        Gets what other children do meanwhile.
    """
    model = None
    if run.newest_round is None:
        display.step("making the initial model")
        model = _initial_model(run)
    display.step("starting the master")
    master = start_master(run.children, run.directory, run.options.tiers, run.store, run.keys, model)
    display.started(master.name, master.process.pid)
    [master_url] = await_addresses(run.children, [master], see)
    _note_master(run.directory, master_url)
    display.step("starting the workers")
    workers = start_workers(run.children, run.keys, run.options.tiers.workers, master_url, port)
    for worker in workers:
        display.started(worker.name, worker.process.pid)
    return master_url, await_addresses(run.children, workers, see)[0]


def _note_master(directory: RunDirectory, url: str) -> None:
    """Write into the run directory where the master is, for whoever asks how the run stands."""
    federation = directory.read_federation()
    if federation is not None:
        directory.write_federation(federation.model_copy(update={"master": url}))


def _require_possible(options: LocalOptions) -> None:
    sampling, threshold = options.tiers.sampling, options.tiers.threshold
    if threshold > options.clients:
        raise StartupError(
            f"--threshold {threshold} is more than the {options.clients} clients there are, so no round "
            "would ever close; lower it, or raise --clients"
        )
    if sampling is not None and threshold > sampling.cohort_size:
        raise StartupError(
            f"--threshold {threshold} is more than the {sampling.cohort_size} clients that a round selects, so no "
            "round would ever close; lower it, or raise --fraction"
        )


def _claim(options: LocalOptions, surroundings: Surroundings, display: Display, held: ExitStack) -> RunDirectory:
    if options.run_dir is not None:
        return held.enter_context(claimed(options.run_dir.absolute()))
    wanted = surroundings.home.absolute() / "runs" / label(options.task)
    directory = held.enter_context(first_free(wanted))
    if directory.path != wanted:
        display.note(f"{wanted} is in use by a running federation; this run takes {directory.path}")
    return directory


def _initial_model(run: LocalRun) -> Path:
    path = run.directory.initial_model(run.options.seed)
    if not path.exists():
        write_initial_model(path, run.options.task, data=run.data.clients[0], seed=run.options.seed)
    return path


def _fetching(display: Display) -> Progress:
    """Return what shows the progress of a download, a quarter at a time."""
    shown: set[tuple[str, int]] = set()

    def show(done: int, total: int, source: str) -> None:
        quarter = (source, 4 * done // total)
        if quarter not in shown:
            shown.add(quarter)
            display.step(f"fetching MNIST from {source}: {25 * quarter[1]} %")

    return show
