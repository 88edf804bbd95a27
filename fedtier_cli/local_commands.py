"""``fedtier train`` and ``fedtier up``: the flags of local runs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from rich.console import Console

from fedtier.flags import command, fail, json_flag
from fedtier_cli.display import Display, JsonDisplay, LineDisplay, LiveDisplay
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.local import LocalOptions, Surroundings
from fedtier_cli.local_serving import serve_until_interrupted
from fedtier_cli.local_training import Calls
from fedtier_cli.local_training import train as run_training
from fedtier_cli.processes import RunFailed
from fedtier_cli.tiers import TierSettings
from fedtier_cli.workplace import HOME, absolute_task, home, keep_to_this_machine

_DEFAULT_TASK: Final = "mnist_cnn"
_TASK_HELP: Final = "mnist_cnn, package.module:Name, or path/to/file.py:Name."
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def _federation_flags(function: _Decorated) -> _Decorated:
    """Add the flags that both commands have."""
    options = [
        click.option("--clients", type=click.IntRange(min=1), default=10, help="How many clients there are."),
        click.option("--workers", type=click.IntRange(min=1), default=2, help="How many worker aggregators."),
        click.option(
            "--threshold", type=click.IntRange(min=1), help="Clients at which a round closes. [default: all of them]"
        ),
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            default=0,
            help="Of the split, the initial model and the clients' training.",
        ),
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path),
            help="Folder with the data; MNIST is fetched when it is not given.",
        ),
        click.option(
            "--run-dir",
            type=click.Path(path_type=Path),
            help="Where everything of the run lies. [default: runs/<task>, or the next that is free]",
        ),
        json_flag,
    ]
    for option in reversed(options):
        function = option(function)
    return function


@command("train")
@click.option(
    "--round", "last_round", type=click.IntRange(min=1), default=3, help="The last round to reach, not an increment."
)
@click.option("--epoch", type=click.IntRange(min=1), default=1, help="Epochs a client trains per round.")
@click.option("--model", "task", default=_DEFAULT_TASK, help=_TASK_HELP)
@click.option("--batch-size", type=click.IntRange(min=1), default=32, help="Samples in a client's training batch.")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), default=0.05, help="Clients' learning rate.")
@_federation_flags
def train(last_round: int, **flags: Any) -> None:
    """Run a whole federation on this machine: S3, a master, workers and clients, until a round is published."""
    tiers = TierSettings(
        task=absolute_task(flags["task"]),
        workers=flags["workers"],
        threshold=flags["threshold"] or flags["clients"],
        last_round=last_round,
        epochs=flags["epoch"],
        batch_size=flags["batch_size"],
        lr=flags["lr"],
    )
    with _ended_in_order(flags["as_json"]) as display:
        run_training(_options(tiers, flags), last_round, _surroundings(), display, _calls(flags))


@command("up")
@click.option("--task", "--model", "task", default=_DEFAULT_TASK, help=_TASK_HELP)
@click.option("--rounds", type=click.IntRange(min=1), help="The last round; none by default.")
@click.option("--port", type=click.IntRange(0, 65535), default=5001, help="The workers' port; 0 takes a free one.")
@_federation_flags
def up(rounds: int | None, port: int, **flags: Any) -> None:
    """Start S3, a master and workers on this machine, and keep them until Ctrl-C."""
    tiers = TierSettings(
        task=absolute_task(flags["task"]),
        workers=flags["workers"],
        threshold=flags["threshold"] or flags["clients"],
        last_round=rounds,
    )
    with _ended_in_order(flags["as_json"], status=0) as display:
        serve_until_interrupted(_options(tiers, flags), port, _surroundings(), display)


def _options(tiers: TierSettings, flags: dict[str, Any]) -> LocalOptions:
    data_dir = flags["data_dir"]
    return LocalOptions(
        tiers=tiers,
        clients=flags["clients"],
        seed=flags["seed"],
        data_dir=None if data_dir is None else data_dir.resolve(),
        run_dir=flags["run_dir"],
    )


def _surroundings() -> Surroundings:
    return Surroundings(home(os.environ), dict(os.environ))


@contextmanager
def _ended_in_order(as_json: bool, *, status: int | None = None) -> Iterator[Display]:
    """Give a display; end the program with a sentence and a status where the run ends early."""
    keep_to_this_machine(os.environ)
    try:
        with ended_by_signals("the run", status=status), _display(as_json) as display:
            yield display
    except RunFailed as error:
        fail(str(error))


def _display(as_json: bool) -> Display:
    if as_json:
        return JsonDisplay()
    console = Console(highlight=False)
    return LiveDisplay(console) if console.is_terminal else LineDisplay(console)


def _calls(flags: dict[str, Any]) -> Calls:
    """Return the calls that go on with this run, and that test it."""
    context = click.get_current_context()
    given = [
        (parameter.opts[0], str(flags[parameter.name]))
        for parameter in context.command.params
        if parameter.name in flags
        and parameter.name != "as_json"
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
    ]
    fedtier, train_call = "fedtier", ["fedtier", "train"]
    if (home(os.environ) / "train.sh").is_file() and os.environ.get(HOME):
        checkout = os.path.relpath(home(os.environ))
        fedtier, train_call = os.path.join(checkout, ".venv/bin/fedtier"), [os.path.join(checkout, "train.sh")]
    again = [*train_call, *(word for pair in given for word in pair)]
    return Calls(shlex.join(again), f"{shlex.quote(fedtier)} evaluate")
