"""Prepares a run's data: fetched, put together, shuffled, and split evenly; and the initial model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from client.datasets.catalogue import dataset_named
from client.datasets.mnist import MIRRORS_VARIABLE
from client.task import BUILT_IN
from fedtier.problems import StartupError
from fedtier_cli.workplace import HOME
from infra.kubeflow.steps.pages import page, picture, table
from infra.kubeflow.steps.programs import run_fedtier
from infra.kubeflow.steps.workspace import Workspace

_FETCHED: Final = ("mnist", "tabular")
"""Data sets that can be had without a folder on the machine."""


@dataclass(frozen=True, slots=True)
class Shards:
    """What the data were split into.

    Parameters
    ----------
    clients : tuple of str
        The clients' ids, in order.
    page : str
        Who has which labels, as HTML.
    """

    clients: tuple[str, ...]
    page: str


def prepare(workspace: Workspace, *, task: str, clients: int, urls: Sequence[str], seed: int) -> Shards:
    """Write each client's shard, the test shard and the initial model into the workspace.

    Parameters
    ----------
    workspace : Workspace
    task : str
        A built-in one; it says which data set is split.
    clients : int
        Among how many.
    urls : sequence of str
        Of tables: the CSV files or their addresses, one per class in order; none takes the samples that come with
        the client. Of MNIST: mirrors; none takes the public ones.
    seed : int
        Of the split and of the initial model.

    Raises
    ------
    StartupError
        There is no such task, its data cannot be fetched, or an address is empty.
    ProgramFailed
        They cannot be split; tells why.
    """
    dataset = _dataset_of(task)
    urls = [url.strip() for url in urls]
    if "" in urls:
        raise StartupError(f"DATA_URLS has an empty address at place {urls.index('') + 1}; leave it out")
    variables = {HOME: str(workspace.root)}
    rows: list[str] = []
    if dataset == "tabular":
        rows = [part for url in urls for part in ("--rows", url)]
    elif urls:
        variables[MIRRORS_VARIABLE] = mirrors(urls)
    facts = run_fedtier(
        *("split", "--dataset", dataset, "--clients", str(clients), "--partition", "iid", "--seed", str(seed)),
        *("--saved-dir", str(workspace.shards), "--init-model", task, *rows),
        variables=variables,
    )
    shards = [fact for fact in facts if fact["event"] == "shard"]
    test = next(fact for fact in facts if fact["event"] == "test")
    drawn = next((Path(fact["path"]) for fact in facts if fact["event"] == "picture"), None)
    title = f"{dataset_named(dataset).title} among {clients} client{'s' * (clients != 1)}"
    return Shards(tuple(fact["client"] for fact in shards), _page(title, [*shards, {**test, "client": "test"}], drawn))


def mirrors(urls: Sequence[str]) -> str:
    """Return addresses of mirrors as one value of `MIRRORS_VARIABLE`, in which a comma is between two of them.

    Parameters
    ----------
    urls : sequence of str
        A comma within one may be in its password, of which no half is to be taken for a mirror, and named.
    """
    return ",".join(url.replace(",", "%2C") for url in urls)


def _dataset_of(task: str) -> str:
    able = [name for name, one in BUILT_IN.items() if one.dataset in _FETCHED]
    if task not in able:
        raise StartupError(
            f"the task {task!r} is none whose data this pipeline can fetch; choose one of {', '.join(able)}"
        )
    return BUILT_IN[task].dataset


def _page(title: str, shards: Sequence[Mapping[str, Any]], drawn: Path | None) -> str:
    """Return who has which labels: the picture, where one was drawn, and the numbers."""
    names = list(shards[0]["labels"])
    rows = [
        [shard["client"], str(shard["examples"]), *(str(shard["labels"][name]) for name in names)] for shard in shards
    ]
    pictures = [] if drawn is None else [picture(drawn, f"How many examples of each label: {title}")]
    return page(title, *pictures, table(["client", "examples", *names], rows))
