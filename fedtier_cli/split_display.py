"""What a split shows: a table for people, or facts as JSON lines for programs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from client.datasets.partition import Partition
from fedtier.rounds import Head
from fedtier.upstream import file_sha256
from fedtier_cli.deploying.ansible_run import See
from fedtier_cli.deploying.live_display import DeployLive
from fedtier_cli.deploying.shipping import Sent
from fedtier_cli.processes import as_json_line
from fedtier_cli.progress import named
from fedtier_cli.situation import plural, short, size
from fedtier_cli.splitting import Dealt, Portion, Recipe

_ALL_SHOWN: Final = 20
_FIRST_SHOWN: Final = 12
_WIDEST: Final = 10_000
_NONE: Final = "·"


class SplitDisplay(ABC):
    """Where a split says what it does and what came of it."""

    @abstractmethod
    def note(self, sentence: str) -> None:
        """Say something beside the results."""

    @abstractmethod
    def dealt(self, dealt: Dealt) -> None:
        """Say what each client got."""

    @abstractmethod
    def portion(self, portion: Portion) -> None:
        """Say what some clients got."""

    @abstractmethod
    def picture(self, path: Path) -> None:
        """Say where the picture is."""

    @abstractmethod
    def initial_model(self, path: Path, source: str) -> None:
        """Say where the initial model is, and where it is from."""

    @abstractmethod
    def published(self, place: str, head: Head) -> None:
        """Say that the initial model is round 0."""

    @contextmanager
    def sending(self) -> Iterator[See | None]:
        """Give what is to see how shards are sent, while they are."""
        yield None

    @abstractmethod
    def sent(self, sent: Sequence[Sent]) -> None:
        """Say which shards are on their hosts now."""


class SplitFacts(SplitDisplay):
    """JSON lines: one per client, and one for each of the others."""

    def note(self, sentence: str) -> None:
        """Print the sentence."""
        self._print("note", detail=sentence)

    def dealt(self, dealt: Dealt) -> None:
        """Print every shard, then what they are together."""
        names = dealt.recipe.dataset.label_names
        for number, (path, row) in enumerate(zip(dealt.clients, dealt.counts, strict=True)):
            self._print("shard", client=f"client-{number}", **_shard_facts(path, names, row))
        self._print("test", **_shard_facts(dealt.test, names, dealt.test_counts))
        recipe = dealt.recipe
        self._print(
            "split",
            dataset=recipe.dataset.name,
            clients=recipe.clients,
            seed=recipe.seed,
            partition=asdict(recipe.partition),
            examples=int(dealt.counts.sum()),
            unused=dealt.unused,
            sizes=_spread(dealt.counts.sum(axis=1)),
            labels_per_client=_spread((dealt.counts > 0).sum(axis=1)),
        )

    def portion(self, portion: Portion) -> None:
        """Print every shard."""
        names = portion.recipe.dataset.label_names
        for (number, path), row in zip(portion.clients.items(), portion.counts, strict=True):
            self._print("shard", client=f"client-{number}", **_shard_facts(path, names, row))

    def picture(self, path: Path) -> None:
        """Print the path."""
        self._print("picture", path=str(path))

    def initial_model(self, path: Path, source: str) -> None:
        """Print path, origin and digest."""
        self._print("initial_model", path=str(path), source=source, sha256=file_sha256(path))

    def published(self, place: str, head: Head) -> None:
        """Print where it is, and the newest round."""
        self._print("published", round=0, place=place, newest=head.round)

    def sent(self, sent: Sequence[Sent]) -> None:
        """Print every shard."""
        for shard in sent:
            where = {"client": shard.client_id, "host": shard.host}
            self._print("sent", **where, sha256=shard.sha256, bytes=shard.size, new=shard.is_new)

    def _print(self, event: str, **members: Any) -> None:
        click.echo(as_json_line({"event": event, **members}))


class SplitTables(SplitDisplay):
    """A table and a few lines.

    Parameters
    ----------
    console : Console
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def note(self, sentence: str) -> None:
        """Print the sentence on standard error."""
        click.echo(sentence, err=True)

    def dealt(self, dealt: Dealt) -> None:
        """Print the table, what the clients have together, and where it lies."""
        self._show(split_table(dealt))
        click.echo(summary(dealt))
        click.echo(f"written to {dealt.test.parent}")

    def portion(self, portion: Portion) -> None:
        """Print the table, and where the shards lie."""
        table = _table(portion.recipe)
        for number, row in zip(portion.clients, portion.counts, strict=True):
            table.add_row(*_cells(f"client-{number}", row))
        self._show(table)
        for path in portion.clients.values():
            click.echo(f"written to {path}")

    def picture(self, path: Path) -> None:
        """Print the path."""
        click.echo(f"label distribution drawn to {path}")

    def initial_model(self, path: Path, source: str) -> None:
        """Print path, origin and the beginning of the digest."""
        click.echo(f"initial model of {source} written to {path}, SHA-256 {short(file_sha256(path))}")

    def published(self, place: str, head: Head) -> None:
        """Print where it is, and the newest round where that is another."""
        newest = f"; the newest round is {head.round}" if head.round else ""
        click.echo(f"published as round 0 at {place}{newest}")

    @contextmanager
    def sending(self) -> Iterator[See | None]:
        """Show all hosts, on a terminal."""
        if not self._console.is_terminal:
            yield None
            return
        with DeployLive(self._console) as live:
            live.step("sending shards")
            yield live.play

    def sent(self, sent: Sequence[Sent]) -> None:
        """Print which host has whose shard, and how many were sent."""
        hosts: dict[str, list[Sent]] = {}
        for shard in sent:
            hosts.setdefault(shard.host, []).append(shard)
        for host, shards in hosts.items():
            names, total = named([shard.client_id for shard in shards]), sum(shard.size for shard in shards)
            click.echo(f"{host} has {names}, {size(total)}")
        new = sum(shard.is_new for shard in sent)
        click.echo(f"{plural(new, 'shard')} sent, {len(sent) - new} were there; all have the SHA-256 that they should")

    def _show(self, table: Table) -> None:
        # Numbers are not to be cut where the terminal is narrow.
        table.width = Measurement.get(self._console, self._console.options.update(width=_WIDEST), table).maximum
        self._console.print(table, soft_wrap=True)


def described(partition: Partition) -> str:
    """Return a partition in words: ``dirichlet, alpha 0.5``."""
    match partition.scheme:
        case "uniform":
            labels = [] if partition.n_label is None else [plural(partition.n_label, "label")]
            each = [] if partition.n_data is None else [f"{partition.n_data} of each"]
            return ", ".join([partition.scheme, *labels, *each])
        case "dirichlet" | "quantity":
            return f"{partition.scheme}, alpha {partition.alpha:g}"
        case _:
            return partition.scheme


def title_of(recipe: Recipe) -> str:
    """Return what was split how, for people."""
    how = f"{described(recipe.partition)}, seed {recipe.seed}"
    return f"{recipe.dataset.title} among {plural(recipe.clients, 'client')}: {how}"


def split_table(dealt: Dealt) -> Table:
    """Return a row per client, or the first of many, with a column per label."""
    clients = len(dealt.counts)
    shown = clients if clients <= _ALL_SHOWN else _FIRST_SHOWN
    table = _table(dealt.recipe)
    for number, row in enumerate(dealt.counts[:shown]):
        table.add_row(*_cells(f"client-{number}", row))
    if shown < clients:
        table.add_row(f"… and {clients - shown} more")
    table.add_row(*_cells("test", dealt.test_counts))
    return table


def _table(recipe: Recipe) -> Table:
    title = title_of(recipe)
    table = Table(
        box=box.SIMPLE_HEAD, padding=0, show_edge=False, title=title, title_style="bold", title_justify="left"
    )
    table.add_column("client", no_wrap=True)
    table.add_column("examples", justify="right", no_wrap=True)
    for name in recipe.dataset.label_names:
        table.add_column(Text(name), justify="right", no_wrap=True)
    return table


def summary(dealt: Dealt) -> str:
    """Return what the clients have, in one line."""
    sizes, kinds = dealt.counts.sum(axis=1), (dealt.counts > 0).sum(axis=1)
    parts = [
        f"{dealt.counts.sum():,} examples for {plural(len(dealt.counts), 'client')}",
        f"each has {_range(sizes)} of {_range(kinds)} labels",
    ]
    if dealt.unused:
        parts.append(f"nobody has the other {dealt.unused:,}")
    return "; ".join(parts)


def _range(values: npt.NDArray[np.int64]) -> str:
    spread = _spread(values)
    if spread["min"] == spread["max"]:
        return f"{spread['min']:,}"
    return f"{spread['min']:,} to {spread['max']:,} (median {spread['median']:,g})"


def _spread(values: npt.NDArray[np.int64]) -> dict[str, float]:
    return {"min": int(values.min()), "median": float(np.median(values)), "max": int(values.max())}


def _shard_facts(path: Path, names: tuple[str, ...], row: npt.NDArray[np.int64]) -> dict[str, Any]:
    return {
        "examples": int(row.sum()),
        "labels": dict(zip(names, row.tolist(), strict=True)),
        "path": str(path),
        "sha256": file_sha256(path),
    }


def _cells(name: str, row: npt.NDArray[np.int64]) -> list[str]:
    return [name, str(row.sum()), *(str(count) if count else _NONE for count in row.tolist())]
