"""``fedtier evaluate``: test every published round, straight from S3."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from client.datasets.mnist import load_mnist, public_sources
from client.datasets.shards import write_shard
from client.task import BUILT_IN, load_task, require_evaluating
from fedtier.bucket_errors import StoreUnavailable
from fedtier.flags import command, json_flag
from fedtier.problems import StartupError
from fedtier.store import RoundStore
from fedtier_cli.client_data import test_data
from fedtier_cli.display import JsonDisplay, score_table
from fedtier_cli.evaluation import RoundScore, published_rounds, score_rounds, write_csv
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.rundir import Federation, RunDirectory
from fedtier_cli.seaweed_credentials import Credentials
from fedtier_cli.tiers import embedded_rounds, embedded_store
from fedtier_cli.workplace import absolute_task, home, keep_to_this_machine

_CSV: Final = "evaluation.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is to be tested, and on what, as far as the flags say.

    Parameters
    ----------
    bucket_name, bucket_key, task : str or None
    data : Path or None
        What the task is handed.
    data_dir : Path or None
        Folder of a data set.
    """

    bucket_name: str | None
    bucket_key: str | None
    task: str | None
    data: Path | None
    data_dir: Path | None


@command("evaluate")
@click.option("--maxlen", type=click.IntRange(min=0), help="The last round to test; all by default.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="Of a local run; knows the other things.")
@click.option("--bucket-name", help="S3 bucket.")
@click.option("--bucket-key", help="Key of the newest model's copy.")
@click.option("--task", help="mnist_cnn, package.module:Name, or path/to/file.py:Name. [default: mnist_cnn]")
@click.option("--data", type=click.Path(path_type=Path), help="Test data that the task is handed: for MNIST, a shard.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder with the data; MNIST is fetched otherwise.")
@click.option(
    "--csv",
    "csv_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Where the table goes as CSV. [default: {_CSV} in the run directory, or here]",
)
@json_flag
def evaluate(
    maxlen: int | None,
    run_dir: Path | None,
    bucket_name: str | None,
    bucket_key: str | None,
    task: str | None,
    data: Path | None,
    data_dir: Path | None,
    csv_path: Path | None,
    as_json: bool,
) -> None:
    """Test every published round, straight from S3."""
    sources = Sources(
        bucket_name=bucket_name,
        bucket_key=bucket_key,
        task=None if task is None else absolute_task(task),
        data=data,
        data_dir=data_dir,
    )
    target = csv_path or (run_dir or Path()) / _CSV
    with ended_by_signals("the evaluation"):
        scores = _scores(sources, run_dir, maxlen)
    write_csv(target, scores)
    if as_json:
        JsonDisplay().scores(scores)
        return
    Console(highlight=False).print(score_table(scores), soft_wrap=True)
    click.echo(f"written to {target}")


def _scores(sources: Sources, run_dir: Path | None, maxlen: int | None) -> list[RoundScore]:
    with ExitStack() as held:
        if run_dir is not None:
            store, task, data = held.enter_context(_of_run(RunDirectory(run_dir), sources))
        else:
            store, task, data = held.enter_context(_of_flags(sources))
        rounds = published_rounds(store, maxlen)
        return list(score_rounds(store, rounds, require_evaluating(load_task(task, data))))


@contextmanager
def _of_flags(sources: Sources) -> Iterator[tuple[RoundStore, str, Path]]:
    if sources.bucket_name is None or sources.bucket_key is None:
        raise StartupError("name what to test: --run-dir of a local run, or --bucket_name and --bucket_key")
    task = sources.task or "mnist_cnn"
    store = RoundStore(sources.bucket_name, sources.bucket_key)
    store.check()
    with _test_data(task, sources) as data:
        yield store, task, data


@contextmanager
def _of_run(run: RunDirectory, sources: Sources) -> Iterator[tuple[RoundStore, str, Path]]:
    federation = run.read_federation()
    if federation is None:
        raise StartupError(f"{run.path} is no run directory of fedtier train or fedtier up; check --run-dir")
    if sources.bucket_name is not None or sources.bucket_key is not None:
        raise StartupError("--run-dir knows bucket and key; leave --bucket_name and --bucket_key out")
    keep_to_this_machine(os.environ)
    task = sources.task or federation.task
    with ExitStack() as held:
        given = sources.data is not None or sources.data_dir is not None
        data = held.enter_context(_test_data(task, sources)) if given else Path(federation.test_data)
        store = _running_store(run, federation)
        if store is None:
            store = held.enter_context(embedded_store(run, federation)).rounds
        yield store, task, data


def _running_store(run: RunDirectory, federation: Federation) -> RoundStore | None:
    """Return the store of a run that goes on now, or None where its S3 does not run."""
    credentials = Credentials.saved(run.credentials)
    if credentials is None:
        return None
    store = embedded_rounds(federation.endpoint, federation.bucket, federation.bucket_key, credentials)
    try:
        store.read_head()
    except StoreUnavailable:
        return None
    return store


@contextmanager
def _test_data(task: str, sources: Sources) -> Iterator[Path]:
    """Give what a task is tested on."""
    if sources.data is not None:
        yield sources.data
    elif task not in BUILT_IN:
        if sources.data_dir is None:
            raise StartupError(f"the task {task} needs data to be tested on; name it with --data")
        if not sources.data_dir.is_dir():
            raise StartupError(f"--data-dir {sources.data_dir} is no folder; name the folder that holds the data")
        yield test_data(sources.data_dir)
    else:
        cache = home(os.environ) / ".fedtier" / "data"
        mnist = load_mnist(cache=cache, data_dir=sources.data_dir, sources=public_sources(os.environ))
        with tempfile.TemporaryDirectory(prefix="fedtier-") as folder:
            shard = Path(folder) / "test.safetensors"
            write_shard(shard, mnist.test)
            yield shard
