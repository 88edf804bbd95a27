"""What every local run needs: a folder, data, keys, an initial model, the embedded S3, and the servers' processes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from client.halves import UploadDtype
from fedtier_cli.display import Display
from fedtier_cli.local_keys import LocalKeys, local_keys
from fedtier_cli.preparing import claim, initial_model, is_testable, prepared_data, require_possible
from fedtier_cli.processes import Children, Event
from fedtier_cli.rundir import BUCKET, Federation, RunDirectory, label
from fedtier_cli.site_record import require_site
from fedtier_cli.tiers import (
    EmbeddedStore,
    await_addresses,
    embedded_store,
    start_master,
    start_workers,
)
from fedtier_cli.training_run import Run, RunOptions, Surroundings
from fedtier_cli.workplace import child_environment, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions(RunOptions):
    """What a local run is told at its start.

    Parameters
    ----------
    processes : int
        That play the clients.
    upload_dtype : {"float32", "bfloat16", "float16"}
        In which they send large float32 tensors.
    """

    processes: int
    upload_dtype: UploadDtype = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRun(Run):
    """A run on this machine, with its keys and a running S3 of its own."""

    options: LocalOptions
    store: EmbeddedStore
    keys: LocalKeys

    @property
    def is_elsewhere(self) -> bool:
        """Whether the run took another directory than the task's usual one, without being told to."""
        return self.options.run_dir is None and self.directory.path.name != label(self.options.task)

    def scalars(self, tensorboard: str) -> list[tuple[str, str]]:
        """Return how to look at what the master writes for TensorBoard."""
        folder = shlex.quote(shown(self.directory.state("master") / "tensorboard"))
        return [("TensorBoard", f"{tensorboard} --logdir {folder}")]


@contextmanager
def prepared(options: LocalOptions, surroundings: Surroundings, display: Display) -> Iterator[LocalRun]:
    """Claim a run directory, make data and keys ready and start S3; everything ends with the block, in order.

    Raises
    ------
    StartupError
        An option cannot be, or something that is needed cannot be had.
    """
    require_possible(options, more="raise --clients")
    with ExitStack() as held:
        directory = claim(options, surroundings.home / "runs" / label(options.task), display, held)
        directory.require_task(options.task)
        require_site(directory, None)
        data = prepared_data(options, surroundings, directory, display)
        # What is wrong with a task of the user's own is told before anything runs.
        testable = is_testable(options.task, data)
        keys = local_keys(directory, surroundings.now())
        display.step("starting S3")
        federation = Federation(
            task=options.task, bucket=BUCKET, bucket_key=options.tiers.bucket_key, test_data=str(data.test)
        )
        store = held.enter_context(embedded_store(directory, federation))
        display.started("s3", store.server.pid)
        newest = store.newest_round()
        children = held.enter_context(Children(directory.logs, child_environment(surroundings.environment)))
        yield LocalRun(
            options=options,
            directory=directory,
            data=data,
            store=store,
            keys=keys,
            children=children,
            newest_round=newest,
            is_testable=testable,
        )


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
    model = initial_model(run, display)
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
