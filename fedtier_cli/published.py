"""Where a command finds what is published: the S3 of a local run, or a bucket that the user names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from fedtier.bucket_errors import StoreCorrupt, StoreUnavailable
from fedtier.flags import gathering
from fedtier.problems import StartupError
from fedtier.store import RoundStore
from fedtier_cli.rundir import Federation, RunDirectory
from fedtier_cli.seaweed_credentials import Credentials
from fedtier_cli.site_record import recorded_site, use_s3_of
from fedtier_cli.tiers import embedded_rounds, embedded_store
from fedtier_cli.workplace import home, keep_to_this_machine

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Place:
    """Which federation a command is about, as far as its flags say.

    Parameters
    ----------
    run_dir : Path or None
        Of a local run.
    bucket_name, bucket_key : str or None
    """

    run_dir: Path | None
    bucket_name: str | None
    bucket_key: str | None


@dataclass(frozen=True, slots=True)
class Published:
    """A federation's rounds in S3.

    Parameters
    ----------
    rounds : RoundStore
    run : RunDirectory or None
        Where a local run published them.
    federation : Federation or None
        What that run directory is for.
    """

    rounds: RoundStore
    run: RunDirectory | None = None
    federation: Federation | None = None


def place_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--run-dir``, ``--bucket-name`` and ``--bucket-key``; the function gets them together as ``place``."""
    flags = {
        "run_dir": click.option(
            "--run-dir",
            type=click.Path(path_type=Path),
            help="Of a local run. [default: the only one under runs, unless a bucket is named]",
        ),
        "bucket_name": click.option("--bucket-name", help="S3 bucket; where S3 is, the AWS variables say."),
        "bucket_key": click.option("--bucket-key", help="Key of the newest model's copy."),
    }
    return gathering("place", flags, Place)(function)


def maxlen_flag(function: _Decorated) -> _Decorated:
    """Add ``--maxlen``."""
    return click.option(
        "--maxlen", type=click.IntRange(min=0), metavar="R", help="The last round that counts; all by default."
    )(function)


@contextmanager
def opened(place: Place, environment: Mapping[str, str] = os.environ, *, start: bool = True) -> Iterator[Published]:
    """Open what a federation published.

    Parameters
    ----------
    place : Place
    environment : Mapping of str to str
    start : bool
        Whether a local run's S3 is started for the while when it does not run.

    Raises
    ------
    StartupError
        The flags name none, or contradict each other, or S3 cannot be used.
    """
    if place.bucket_name is not None and place.bucket_key is not None and place.run_dir is None:
        store = RoundStore(place.bucket_name, place.bucket_key)
        store.check()
        yield Published(store)
        return
    if place.bucket_name is not None or place.bucket_key is not None:
        raise StartupError(
            "--run-dir knows bucket and key; leave --bucket-name and --bucket-key out"
            if place.run_dir is not None
            else "--bucket-name and --bucket-key belong together; give both"
        )
    run, federation = local_run(place.run_dir, environment)
    site = recorded_site(run)
    if site is not None:
        use_s3_of(site, os.environ)
        store = RoundStore(federation.bucket, federation.bucket_key)
        store.check()
        yield Published(store, run, federation)
        return
    keep_to_this_machine(os.environ)
    with ExitStack() as held:
        rounds = running_store(run, federation)
        if rounds is None and not start:
            raise StartupError(f"the S3 of the run directory {run.path} does not run; start the run, then call again")
        if rounds is None:
            rounds = held.enter_context(embedded_store(run, federation)).rounds
        yield Published(rounds, run, federation)


def local_run(run_dir: Path | None, environment: Mapping[str, str]) -> tuple[RunDirectory, Federation]:
    """Return a local run's directory and what it is for; without a path, the only one under ``runs``.

    Raises
    ------
    StartupError
    """
    run = RunDirectory(_only_run(home(environment) / "runs") if run_dir is None else run_dir)
    federation = run.read_federation()
    if federation is None:
        raise StartupError(f"{run.path} is no run directory of fedtier train or fedtier up; check --run-dir")
    return run, federation


def _only_run(runs: Path) -> Path:
    found = sorted(path for path in runs.glob("*") if RunDirectory(path).has_record)
    if not found:
        raise StartupError("name the federation: --run-dir of a local run, or --bucket-name and --bucket-key")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise StartupError(f"{runs} has several runs ({names}); name one by --run-dir")
    return found[0]


def running_store(run: RunDirectory, federation: Federation) -> RoundStore | None:
    """Return the store of a run that goes on now, or None where its S3 does not run."""
    credentials = Credentials.saved(run.credentials)
    if credentials is None:
        return None
    store = embedded_rounds(federation.endpoint, federation.bucket, federation.bucket_key, credentials)
    try:
        store.read_head()
    except StoreUnavailable:
        return None
    except StoreCorrupt as error:
        raise StartupError(str(error)) from None
    return store
