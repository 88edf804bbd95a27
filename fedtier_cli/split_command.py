"""``fedtier split``: split a data set among clients, draw who has what, publish the initial model, send the shards."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console

from client.datasets.catalogue import DATASETS, Origin, dataset_named
from client.datasets.known_files import Progress
from client.datasets.mnist import public_sources
from fedtier.flags import SEED, command, json_flag
from fedtier.problems import StartupError
from fedtier_cli.deploying.connection_flags import FILE, key_flag
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.shipping import send_shards, shards_of_clients
from fedtier_cli.deploying.site import Site, read_site
from fedtier_cli.initial_model import FILE_NAME, require_source, usual_task, write_initial_model
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.pictures import MISSING, can_draw, picture_file
from fedtier_cli.situation import plural
from fedtier_cli.split_choice import require_consistent, require_start, wanted_shards
from fedtier_cli.split_display import SplitDisplay, SplitFacts, SplitTables, title_of
from fedtier_cli.split_flags import partition_flags, partition_of
from fedtier_cli.splitting import Dealt, Recipe, split_into, split_off
from fedtier_cli.workplace import home

if TYPE_CHECKING:
    from fedtier_cli.round_zero import RoundZero

_PICTURE: Final = "label-distribution.png"
_FLAG: Final = "--saved_dir"
_PATH: Final = click.Path(path_type=Path)
_CLIENTS: Final = 10
_S3_LIBRARIES: Final = ("boto3", "botocore")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a federation is to start from.

    Parameters
    ----------
    source : str or None
        Of the initial model, see `fedtier_cli.initial_model`; None where none is made.
    round_zero : RoundZero or None
        Where it is published.
    """

    source: str | None
    round_zero: RoundZero | None


@dataclass(frozen=True, slots=True)
class Destination:
    """Whose hosts are sent shards."""

    playbooks: Playbooks
    site: Site


@command("split")
@click.option("--dataset", type=click.Choice(list(DATASETS)), default="mnist", help="What is split.")
@click.option("--data-dir", type=_PATH, help="Folder with the data set's files; MNIST is fetched when it is not given.")
@click.option(
    "--clients",
    type=click.IntRange(min=1),
    help=f"Among how many. [default: {_CLIENTS}, or as many as --inventory has]",
)
@partition_flags
@click.option("--seed", type=SEED, default=0, help="Of the split and of the initial model.")
@click.option("--saved-dir", type=_PATH, default=Path("shards"), help="Folder for the shards.")
@click.option(
    "--only",
    multiple=True,
    metavar="CLIENT_ID",
    help="Write the shard of this client alone, client-<k>; once per client. No test shard and no picture then.",
)
@click.option("--no-shards", is_flag=True, help="Write no shards, just the initial model.")
@click.option("--no-picture", is_flag=True, help=f"Draw no {_PICTURE}; one of an earlier split goes.")
@click.option(
    "--init-model",
    help="A .safetensors file, or a task whose untrained model is taken: a built-in one, package.module:Name, or "
    "path/to/file.py:Name. [default: the data set's first task, where a bucket is named]",
)
@click.option("--bucket-name", help="S3 bucket; where S3 is, the AWS variables say.")
@click.option("--bucket-key", help="Key of the newest model's copy; without extension, the prefix of all.")
@click.option("--inventory", type=FILE, help="Ansible inventory; each of its clients' hosts is sent its shard.")
@key_flag
@json_flag
def split(**flags: Any) -> None:
    """Split a data set among clients, and publish the initial model.

    Writes client-<k>.safetensors for each client, test.safetensors for evaluation and a picture of who has which
    labels. The same seed gives the same shards on every machine, to the byte. Those of an earlier split are replaced.

    With --bucket-name and --bucket-key the initial model is published as round 0; the same model again does no harm,
    another one is refused. It also lies beside the shards as initial.safetensors, for fedtier master --web-model.

    With --only nothing but some clients' shards is written, for a client that makes its own where it runs: the same
    bytes as a split for all. With --no-shards the initial model is all, and the data are not needed for it.

    With --inventory every client's host is sent its shard, unless it has the same one already, and the SHA-256 of what
    arrived is checked.

    Ends with status 0 when done, 1 when it cannot be done, 2 for wrong flags.
    """
    display: SplitDisplay = SplitFacts() if flags["as_json"] else SplitTables(Console(highlight=False))
    require_consistent(flags)
    destination = _destination(flags)
    recipe = Recipe(dataset_named(flags["dataset"]), _clients(flags, destination), flags["seed"], partition_of(flags))
    wanted = wanted_shards(flags, recipe.clients)
    start = _start(flags, wanted)
    shards = _write_shards(flags, recipe, wanted, display)
    if start.source is not None:
        data = shards[0] if shards else None
        _make_initial_model(start, start.source, data, flags, display)
    if destination is not None:
        _send(shards, destination, display)


def _write_shards(
    flags: dict[str, Any], recipe: Recipe, wanted: Sequence[int] | None, display: SplitDisplay
) -> Sequence[Path]:
    """Write what is wanted, say so, and return the shards that were written."""
    folder: Path = flags["saved_dir"]
    if wanted is None:
        dealt = split_into(folder, recipe, _origin(flags, display), flag=_FLAG)
        display.dealt(dealt)
        _draw(dealt, folder / _PICTURE, display, wanted=not flags["no_picture"])
        return dealt.clients
    if not wanted:
        return []
    portion = split_off(folder, recipe, _origin(flags, display), wanted, flag=_FLAG)
    display.portion(portion)
    return list(portion.clients.values())


def _destination(flags: dict[str, Any]) -> Destination | None:
    """Find out, before anything is split, where shards are to be sent."""
    if flags["inventory"] is None:
        if flags["key_path"] is not None:
            raise StartupError("--key_path is the SSH key for the hosts of an inventory; give --inventory too")
        return None
    playbooks = Playbooks(flags["inventory"], flags["key_path"])
    return Destination(playbooks, read_site(playbooks))


def _clients(flags: dict[str, Any], destination: Destination | None) -> int:
    wanted: int | None = flags["clients"]
    if destination is None:
        return _CLIENTS if wanted is None else wanted
    there = destination.site.clients
    if not there or wanted not in (None, len(there)):
        raise StartupError(
            f"the inventory {flags['inventory']} has {plural(len(there), 'client')}, so data are split among as many; "
            + ("leave out --clients" if there else "name hosts in its group clients")
        )
    return len(there)


def _send(shards: Sequence[Path], destination: Destination, display: SplitDisplay) -> None:
    of_clients = shards_of_clients(destination.site, shards)
    with ended_by_signals("sending"):
        with display.sending() as see:
            sent = send_shards(destination.playbooks, of_clients, see=see)
        display.sent(sent)


def _start(flags: dict[str, Any], wanted: Sequence[int] | None) -> Start:
    """Find out, before anything is split, whether there can be such a start."""
    name, key, source = flags["bucket_name"], flags["bucket_key"], flags["init_model"]
    if (name is None) != (key is None):
        raise StartupError("--bucket_name and --bucket_key belong together; give both")
    if source is not None:
        require_source(source, flags["dataset"])
    if source is None and name is not None:
        source = usual_task(flags["dataset"])
    require_start(source, wanted)
    return Start(source=source, round_zero=None if name is None else _round_zero(name, key))


def _round_zero(name: str, key: str) -> RoundZero:
    """Load what knows S3, which clients do without."""
    try:
        module = importlib.import_module("fedtier_cli.round_zero")
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in _S3_LIBRARIES:
            raise  # a bug, and no package that was left out
        raise StartupError(
            f"--bucket_name needs the package {package}, which is not installed; "
            "pip install 'fedtier[server]' brings it"
        ) from None
    found: RoundZero = module.RoundZero(name, key)
    return found


def _origin(flags: dict[str, Any], display: SplitDisplay) -> Origin:
    return Origin(
        cache=home(os.environ) / ".fedtier" / "data",
        data_dir=flags["data_dir"],
        rows=flags["rows"],
        sources=public_sources(os.environ),
        progress=_fetching(dataset_named(flags["dataset"]).title, display),
    )


def _fetching(title: str, display: SplitDisplay) -> Progress:
    """Return what says once from where a data set is fetched."""
    told: set[str] = set()

    def tell(_done: int, _total: int, source: str) -> None:
        if source not in told:
            told.add(source)
            display.note(f"fetching {title} from {source}")

    return tell


def _draw(dealt: Dealt, target: Path, display: SplitDisplay, *, wanted: bool) -> None:
    if not (wanted and can_draw()):
        # That of an earlier split would show other shards.
        _remove(target)
        if wanted:
            display.note(f"{MISSING}, or give --no-picture")
        return
    recipe = dealt.recipe
    picture_file(target, _FLAG).draw_labels(dealt.counts, recipe.dataset.label_names, title=title_of(recipe))
    display.picture(target)


def _remove(picture: Path) -> None:
    try:
        picture.unlink(missing_ok=True)
    except OSError as error:
        raise StartupError(f"{picture} cannot be removed ({error.strerror}); remove it") from None


def _make_initial_model(
    start: Start, source: str, data: Path | None, flags: dict[str, Any], display: SplitDisplay
) -> None:
    target = flags["saved_dir"] / FILE_NAME
    # A task may print what it likes; among facts it would pass for one.
    with redirect_stdout(sys.stderr):
        write_initial_model(target, source, data=data, seed=flags["seed"])
    display.initial_model(target, source)
    if start.round_zero is not None:
        display.published(start.round_zero.place, start.round_zero.publish(target))
