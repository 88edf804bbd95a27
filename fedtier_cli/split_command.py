"""``fedtier split``: split a data set among clients, draw who has what, publish the initial model, send the shards."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from client.datasets.catalogue import DATASETS, Origin, dataset_named
from client.datasets.known_files import Progress
from client.datasets.mnist import public_sources
from fedtier.flags import SEED, command, json_flag
from fedtier.problems import StartupError
from fedtier.store import RoundStore
from fedtier_cli.deploying.connection_flags import FILE, key_flag
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.shipping import send_shards, shards_of_clients
from fedtier_cli.deploying.site import Site, read_site
from fedtier_cli.initial_model import FILE_NAME, publish_initial_model, require_source, usual_task, write_initial_model
from fedtier_cli.interruption import ended_by_signals
from fedtier_cli.pictures import MISSING, can_draw, picture_file
from fedtier_cli.situation import plural
from fedtier_cli.split_display import SplitDisplay, SplitFacts, SplitTables, title_of
from fedtier_cli.split_flags import partition_flags, partition_of
from fedtier_cli.splitting import Dealt, Recipe, split_into
from fedtier_cli.workplace import home

_PICTURE: Final = "label-distribution.png"
_FLAG: Final = "--saved_dir"
_PATH: Final = click.Path(path_type=Path)
_CLIENTS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a federation is to start from.

    Parameters
    ----------
    source : str or None
        Of the initial model, see `fedtier_cli.initial_model`; None where none is made.
    store : RoundStore or None
        Where it is published.
    place : str
        The store as a person reads it.
    """

    source: str | None
    store: RoundStore | None
    place: str


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

    With --inventory every client's host is sent its shard, unless it has the same one already, and the SHA-256 of what
    arrived is checked.

    Ends with status 0 when done, 1 when it cannot be done, 2 for wrong flags.
    """
    display: SplitDisplay = SplitFacts() if flags["as_json"] else SplitTables(Console(highlight=False))
    destination = _destination(flags)
    recipe = Recipe(dataset_named(flags["dataset"]), _clients(flags, destination), flags["seed"], partition_of(flags))
    start = _start(flags)
    folder: Path = flags["saved_dir"]
    dealt = split_into(folder, recipe, _origin(flags, display), flag=_FLAG)
    display.dealt(dealt)
    _draw(dealt, folder / _PICTURE, display, wanted=not flags["no_picture"])
    if start.source is not None:
        _make_initial_model(start, start.source, dealt, folder / FILE_NAME, display)
    if destination is not None:
        _send(dealt, destination, display)


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


def _send(dealt: Dealt, destination: Destination, display: SplitDisplay) -> None:
    shards = shards_of_clients(destination.site, dealt.clients)
    with ended_by_signals("sending"):
        with display.sending() as see:
            sent = send_shards(destination.playbooks, shards, see=see)
        display.sent(sent)


def _start(flags: dict[str, Any]) -> Start:
    """Find out, before anything is split, whether there can be such a start."""
    name, key, source = flags["bucket_name"], flags["bucket_key"], flags["init_model"]
    if (name is None) != (key is None):
        raise StartupError("--bucket_name and --bucket_key belong together; give both")
    if source is not None:
        require_source(source, flags["dataset"])
    if name is None:
        return Start(source=source, store=None, place="")
    store = RoundStore(name, key)
    store.check()
    return Start(source=source or usual_task(flags["dataset"]), store=store, place=f"s3://{name}/{store.keys.prefix}")


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


def _make_initial_model(start: Start, source: str, dealt: Dealt, target: Path, display: SplitDisplay) -> None:
    # A task may print what it likes; among facts it would pass for one.
    with redirect_stdout(sys.stderr):
        write_initial_model(target, source, data=dealt.clients[0], seed=dealt.recipe.seed)
    display.initial_model(target, source)
    if start.store is not None:
        display.published(start.place, publish_initial_model(start.store, target))
