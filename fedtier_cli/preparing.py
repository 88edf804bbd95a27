"""What is made ready before a run's first process: a folder, the clients' data, and the model that it starts from."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from client.datasets.catalogue import Origin
from client.datasets.known_files import Progress
from client.datasets.mnist import public_sources
from client.datasets.shards import client_shard
from client.task import BUILT_IN, AssessingTask, EvaluatingTask, Task, load_task
from fedtier.problems import StartupError
from fedtier.upstream import file_sha256
from fedtier_cli.client_data import ClientData, prepare_data
from fedtier_cli.display import Display
from fedtier_cli.initial_model import write_initial_model
from fedtier_cli.rundir import RunDirectory, claimed, first_free
from fedtier_cli.training_run import Run, RunOptions, Surroundings


def require_possible(options: RunOptions, *, more: str) -> None:
    """Check that a round can get as many clients as close it.

    Parameters
    ----------
    options : RunOptions
    more : str
        How there are more clients, as the end of a sentence.

    Raises
    ------
    StartupError
    """
    sampling, threshold = options.tiers.sampling, options.tiers.threshold
    if threshold > options.clients:
        raise StartupError(
            f"--threshold {threshold} is more than the {options.clients} clients there are, so no round "
            f"would ever close; lower it, or {more}"
        )
    if sampling is not None and threshold > sampling.cohort_size:
        raise StartupError(
            f"--threshold {threshold} is more than the {sampling.cohort_size} clients that a round selects, so no "
            "round would ever close; lower it, or raise --fraction"
        )


def claim(options: RunOptions, usual: Path, display: Display, held: ExitStack) -> RunDirectory:
    """Claim the run directory that was asked for, or else the usual one, or the next that is free.

    Raises
    ------
    StartupError
    """
    if options.run_dir is not None:
        return held.enter_context(claimed(options.run_dir.absolute()))
    wanted = usual.absolute()
    directory = held.enter_context(first_free(wanted))
    if directory.path != wanted:
        display.note(f"{wanted} is in use by a running federation; this run takes {directory.path}")
    return directory


def prepared_data(
    options: RunOptions, surroundings: Surroundings, directory: RunDirectory, display: Display
) -> ClientData:
    """Return the clients' data, split where that was not done before.

    Raises
    ------
    StartupError
    """
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


def is_testable(task: str, data: ClientData) -> bool:
    """Return whether a task can say how good a model is; one of the user's own is made to find out.

    That is checked before hours of training, also with what its models are going to be tested on.

    Raises
    ------
    StartupError
        The task cannot be made.
    """
    if task in BUILT_IN:
        return True
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


def initial_model(run: Run, display: Display) -> Path | None:
    """Return the model that the run starts from, made where it is not there; None where something is published."""
    return None if run.newest_round is not None else untrained_model(run.options, run.directory, run.data, display)


def untrained_model(options: RunOptions, directory: RunDirectory, data: ClientData, display: Display) -> Path:
    """Return the task's model before any training, made where it is not there.

    Raises
    ------
    StartupError
        The task cannot make it, or it cannot be written.
    """
    display.step("making the initial model")
    path = directory.initial_model(options.seed)
    if not path.exists():
        write_initial_model(path, options.task, data=data.clients[0], seed=options.seed)
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
