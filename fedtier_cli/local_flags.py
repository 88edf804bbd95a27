"""The flags that ``fedtier train`` and ``fedtier up`` have in common, and what they say together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypedDict, TypeVar

import click

from client.datasets.partition import Partition
from client.halves import UploadDtype
from client.task import BUILT_IN
from fedtier.flags import SEED, FiniteRange, json_flag
from fedtier.rounds import ClientSettings
from fedtier_cli.local import LocalOptions
from fedtier_cli.local_clients import process_count
from fedtier_cli.split_flags import partition_flags, partition_of
from fedtier_cli.tiers import Sampling, TierSettings
from fedtier_cli.workplace import absolute_task

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_COUNT = click.IntRange(min=1)
_PATH = click.Path(path_type=Path)


def federation_flags(function: _Decorated) -> _Decorated:
    """Add the flags that say what a federation is made of."""
    options = [
        click.option("--clients", type=_COUNT, default=10, help="How many clients there are."),
        click.option(
            "--fraction",
            type=FiniteRange(0, 1),
            help="The part of them that is drawn for each round, at least one. [default: everybody may take part]",
        ),
        click.option("--workers", type=_COUNT, default=2, help="How many worker aggregators."),
        click.option(
            "--threshold", type=_COUNT, help="Clients at which a round closes. [default: all that may take part]"
        ),
        click.option(
            "--seed",
            type=SEED,
            default=0,
            help="Of the split, the initial model, the drawing and the clients' training.",
        ),
        click.option("--data-dir", type=_PATH, help="Folder with the data; MNIST is fetched when it is not given."),
        partition_flags,
        click.option(
            "--run-dir",
            type=_PATH,
            help="Where everything of the run lies. [default: runs/<task>, or the next that is free]",
        ),
        json_flag,
    ]
    for option in reversed(options):
        function = option(function)
    return function


def training_flags(function: _Decorated) -> _Decorated:
    """Add the flags that say how clients train; what is not given is the task's own."""
    options = [
        click.option("--epoch", type=_COUNT, help="Epochs a client trains per round. [default: 1]"),
        click.option("--batch-size", type=_COUNT, help="Samples in a client's training batch. [default: 32]"),
        click.option(
            "--lr",
            type=FiniteRange(min=0, min_open=True),
            help="Clients' learning rate. [default: the task's, or 0.05]",
        ),
        click.option(
            "--lr-decay",
            type=FiniteRange(0, 1, min_open=True),
            default=1.0,
            help="Factor of the learning rate from round to round.",
        ),
        click.option(
            "--optimizer",
            type=click.Choice(["sgd", "adam"]),
            help="How clients' weights move. [default: the task's, or sgd]",
        ),
        click.option(
            "--momentum",
            type=FiniteRange(0, 1, max_open=True),
            help="Clients' momentum; of sgd alone. [default: the task's, or 0.5]",
        ),
        click.option("--weight-decay", type=FiniteRange(min=0), help="Clients' weight decay. [default: 0]"),
        click.option(
            "--prox-mu",
            type=FiniteRange(min=0),
            help="Pull of FedProx towards the round's model; 0 is plain averaging. [default: 0]",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


_USUAL_RATES: Final[Mapping[str, float]] = MappingProxyType({"sgd": ClientSettings().lr, "adam": 0.001})
"""Learning rates where an optimizer is not the task's own: ours, and that of Kingma and Ba 2015, algorithm 1."""


def client_settings(task: str, flags: Mapping[str, Any]) -> ClientSettings:
    """Return how clients train: as the flags say, else as is usual for the task.

    Parameters
    ----------
    task : str
    flags : Mapping of str to object
        Those of `training_flags`; None where a flag is not given.
    """
    usual = BUILT_IN[task].settings if task in BUILT_IN else ClientSettings()
    if flags["optimizer"] not in {None, usual.optimizer}:
        # A learning rate that suits one optimizer is a hundred times too large, or too small, for the other.
        usual = usual.model_copy(update={"lr": _USUAL_RATES[flags["optimizer"]]})
    given = {
        "epochs": flags["epoch"],
        **{name: flags[name] for name in ("batch_size", "lr", "optimizer", "momentum", "weight_decay", "prox_mu")},
    }
    return usual.model_copy(update={name: value for name, value in given.items() if value is not None})


def local_options(
    flags: Mapping[str, Any],
    *,
    last_round: int | None,
    processes: int | None,
    cores: int,
    upload_dtype: UploadDtype = "float32",
) -> LocalOptions:
    """Return what the flags of `federation_flags` and `training_flags` say together.

    Parameters
    ----------
    flags : Mapping of str to object
        With ``task``.
    last_round : int or None
    processes : int or None
        As the user says.
    cores : int
        Of the machine.
    upload_dtype : {"float32", "bfloat16", "float16"}
        Of clients on this machine.

    Raises
    ------
    StartupError
    """
    clients = flags["clients"]
    return LocalOptions(
        tiers=tier_settings(flags, absolute_task(flags["task"]), last_round=last_round),
        clients=clients,
        processes=process_count(clients, processes, cores),
        upload_dtype=upload_dtype,
        **run_choices(flags),
    )


def tier_settings(flags: Mapping[str, Any], task: str, *, last_round: int | None) -> TierSettings:
    """Return what the flags say to the servers."""
    clients, fraction = flags["clients"], flags["fraction"]
    sampling = None if fraction is None else Sampling(clients=clients, fraction=fraction, seed=flags["seed"])
    return TierSettings(
        task=task,
        workers=flags["workers"],
        threshold=flags["threshold"] or (clients if sampling is None else sampling.cohort_size),
        last_round=last_round,
        sampling=sampling,
        client=client_settings(task, flags),
        lr_decay=flags["lr_decay"],
    )


class RunChoices(TypedDict):
    """What the flags say of every run, wherever it takes place; members of `RunOptions`."""

    seed: int
    partition: Partition
    data_dir: Path | None
    rows: tuple[str, ...]
    run_dir: Path | None


def run_choices(flags: Mapping[str, Any]) -> RunChoices:
    """Return what the flags say of every run.

    Raises
    ------
    StartupError
        They contradict each other.
    """
    return RunChoices(
        seed=flags["seed"],
        partition=partition_of(flags),
        data_dir=None if flags["data_dir"] is None else flags["data_dir"].resolve(),
        rows=flags["rows"],
        run_dir=flags["run_dir"],
    )
