"""``fedtier train`` and ``fedtier up``: runs on this machine, or on others, as their flags say."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from client.halves import UploadDtype, upload_dtype_flag
from client.task import BUILT_IN
from fedtier.flags import FiniteRange, command, fail
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.site import read_site
from fedtier_cli.directions import Calls
from fedtier_cli.display import Display, JsonDisplay, LineDisplay, LiveDisplay
from fedtier_cli.goal import Goal
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.local_flags import federation_flags, local_options, training_flags
from fedtier_cli.local_serving import serve_until_interrupted
from fedtier_cli.local_training import train as run_training
from fedtier_cli.processes import RunFailed
from fedtier_cli.remote_flags import chosen_address, remote_options, require_fitting, site_flags
from fedtier_cli.remote_training import train as train_remotely
from fedtier_cli.training_run import Surroundings
from fedtier_cli.workplace import HOME, home, keep_to_this_machine, shown

_DEFAULT_TASK: Final = "mnist_cnn"
_TASK_HELP: Final = f"{', '.join(BUILT_IN)}, package.module:Name, or path/to/file.py:Name."
_NOT_AGAIN: Final = frozenset({"last_round", "target", "as_json"})
"""Flags that a call which goes on has new values for, or leaves out."""
_ROUNDS: Final = 3
_ROUNDS_TO_TARGET: Final = 1000


@command("train")
@click.option(
    "--round",
    "last_round",
    type=click.IntRange(min=1),
    help=f"The last round to reach, not an increment. [default: {_ROUNDS}, or {_ROUNDS_TO_TARGET} with --target]",
)
@click.option(
    "--target",
    type=FiniteRange(0, 1),
    help="Accuracy on the test data at which the run ends, 0.97 for 97 %; exit status 3 when the last round misses it.",
)
@site_flags
@click.option(
    "--model",
    "--task",
    "task",
    help=f"{_TASK_HELP} [default: {_DEFAULT_TASK}, or the inventory's]",
)
@training_flags
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="How many processes play the clients. [default: one each up to 16 clients, else as many as there are cores]",
)
@upload_dtype_flag
@federation_flags
def train(
    last_round: int | None,
    target: float | None,
    processes: int | None,
    upload_dtype: UploadDtype,
    inventory: Path | None,
    server: str | None,
    key_path: Path | None,
    **flags: Any,
) -> None:
    """Run a whole federation on this machine: S3, a master, workers and clients, until a round is published.

    With --inventory, train on other machines instead, which infra/ansible/init.sh or fedtier deploy has set up: their
    clients are started and followed until the round is published; Ctrl-C stops the clients, and their servers stay.
    """
    require_fitting(click.get_current_context())
    goal = Goal(last_round or (_ROUNDS if target is None else _ROUNDS_TO_TARGET), target)
    if inventory is not None:
        sys.exit(_train_elsewhere(Playbooks(inventory, key_path), server, goal, flags))
    options = local_options(
        {**flags, "task": flags["task"] or _DEFAULT_TASK},
        last_round=goal.last_round,
        processes=processes,
        upload_dtype=upload_dtype,
        cores=os.cpu_count() or 1,
    )
    keep_to_this_machine(os.environ)
    with _ended_in_order(flags["as_json"]) as display:
        status = run_training(options, goal, _surroundings(), display, _calls())
    sys.exit(status)


def _train_elsewhere(playbooks: Playbooks, server: str | None, goal: Goal, flags: dict[str, Any]) -> int:
    with _ended_in_order(flags["as_json"]) as display:
        display.step(f"reading the inventory {shown(playbooks.inventory)}")
        site = read_site(playbooks)
        address = chosen_address(server, site)
        options = remote_options(flags, site, playbooks.inventory, last_round=goal.last_round)
        return train_remotely(options, goal, playbooks, site, address, _surroundings(), display, _calls())


@command("up")
@click.option("--task", "--model", "task", default=_DEFAULT_TASK, help=_TASK_HELP)
@click.option("--rounds", type=click.IntRange(min=1), help="The last round; none by default.")
@click.option("--port", type=click.IntRange(0, 65535), default=5001, help="The workers' port; 0 takes a free one.")
@training_flags
@federation_flags
def up(rounds: int | None, port: int, **flags: Any) -> None:
    """Start S3, a master and workers on this machine, and keep them until Ctrl-C."""
    options = local_options(flags, last_round=rounds, processes=1, cores=1)
    keep_to_this_machine(os.environ)
    with _ended_in_order(flags["as_json"], status=0) as display:
        serve_until_interrupted(options, port, _surroundings(), display, _calls())


def _surroundings() -> Surroundings:
    return Surroundings(home(os.environ), dict(os.environ))


@contextmanager
def _ended_in_order(as_json: bool, *, status: int | None = None) -> Iterator[Display]:
    """Give a display; end the program with a sentence and a status where the run ends early."""
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


def _calls() -> Calls:
    """Return the calls that go on with this run, and that look at it."""
    context = click.get_current_context()
    again = [
        word
        for parameter in context.command.params
        if parameter.name not in _NOT_AGAIN and _is_typed(context, parameter)
        for word in _typed(parameter.opts[0], context.params[str(parameter.name)])
    ]
    programs, train_call = "", ["fedtier", "train"]
    if (home(os.environ) / "train.sh").is_file() and os.environ.get(HOME):
        checkout = os.path.relpath(home(os.environ))
        programs, train_call = os.path.join(checkout, ".venv", "bin", ""), [os.path.join(checkout, "train.sh")]
    fedtier = shlex.quote(f"{programs}fedtier")
    return Calls(
        train=shlex.join([*train_call, *again]),
        evaluate=f"{fedtier} evaluate",
        graph=f"{fedtier} graph",
        tensorboard=shlex.quote(f"{programs}tensorboard"),
    )


def _is_typed(context: click.Context, parameter: click.Parameter) -> bool:
    return context.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE


def _typed(flag: str, value: object) -> list[str]:
    values = value if isinstance(value, tuple) else (value,)
    return [word for one in values for word in (flag, str(one))]
