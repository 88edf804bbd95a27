"""The data sets that come with the client, by name: what an example is, and how to load one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType
from typing import Final

from client.datasets.cifar10 import load_cifar10
from client.datasets.known_files import Progress
from client.datasets.mnist import load_mnist
from client.datasets.shards import Layout, Split
from client.datasets.sources import Source, require_folder
from client.datasets.tabular import COLUMNS, load_tabular
from fedtier.problems import StartupError

_CLASS_FILES: Final = ("class-0.csv", "class-1.csv")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a data set comes from, as far as a person says so.

    Parameters
    ----------
    cache : Path
        Directory in which fetched files stay.
    data_dir : Path, optional
        Directory with the files of the data set; then nothing else is tried.
    rows : tuple of str
        Files or URLs of the tabular data set, one per class.
    sources : sequence of Source
        Asked for known files that the cache lacks.
    progress : callable, optional
        Told how far fetching is.
    """

    cache: Path
    data_dir: Path | None = None
    rows: tuple[str, ...] = ()
    sources: Sequence[Source] = ()
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set.

    Parameters
    ----------
    name : str
        Its key in `DATASETS`.
    title : str
        What a person calls it.
    layout : Layout
        What one example is.
    label_names : tuple of str
        One per class, in order.
    load : callable
        Gives all of it, or raises StartupError.
    fixed : bool
        Whether it is always the same, known by digest, so that shards of it need not be made anew.
    """

    name: str
    title: str
    layout: Layout
    label_names: tuple[str, ...]
    load: Callable[[Origin], Split]
    fixed: bool


def dataset_named(name: str) -> Dataset:
    """Return the data set of a name.

    Raises
    ------
    StartupError
        There is none; names those that there are.
    """
    if name not in DATASETS:
        raise StartupError(f"there is no data set {name!r}; choose one of {', '.join(DATASETS)}")
    return DATASETS[name]


def _mnist(origin: Origin) -> Split:
    _refuse_rows(origin, "MNIST")
    return load_mnist(cache=origin.cache, data_dir=origin.data_dir, sources=origin.sources, progress=origin.progress)


def _cifar10(origin: Origin) -> Split:
    _refuse_rows(origin, "CIFAR-10")
    return load_cifar10(origin.data_dir)


def _tabular(origin: Origin) -> Split:
    if origin.rows and origin.data_dir is not None:
        raise StartupError("--rows and --data-dir both say where the rows of the tables are; leave one of them out")
    if len(origin.rows) not in {0, 2}:
        raise StartupError(
            f"--rows names {len(origin.rows)} file{'s' * (len(origin.rows) != 1)}, wanted 2, one per class in order; "
            "give the flag twice"
        )
    if origin.rows:
        return load_tabular(origin.rows[0], origin.rows[1])
    if origin.data_dir is None:
        return _sample_rows()
    require_folder(origin.data_dir, " and ".join(_CLASS_FILES))
    first, second = (str(origin.data_dir / name) for name in _CLASS_FILES)
    return load_tabular(first, second)


def _sample_rows() -> Split:
    with ExitStack() as stack:
        folder = files("client.datasets") / "samples"
        first, second = (str(stack.enter_context(as_file(folder / name))) for name in _CLASS_FILES)
        return load_tabular(first, second)


def _refuse_rows(origin: Origin, title: str) -> None:
    if origin.rows:
        raise StartupError(f"--rows belongs to the data set tabular, not to {title}; leave it out")


DATASETS: Final[Mapping[str, Dataset]] = MappingProxyType(
    {
        dataset.name: dataset
        for dataset in (
            Dataset("mnist", "MNIST", Layout("U8", (28, 28), 10), tuple("0123456789"), _mnist, fixed=True),
            Dataset(
                "cifar10",
                "CIFAR-10",
                Layout("U8", (3, 32, 32), 10),
                ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
                _cifar10,
                fixed=False,
            ),
            Dataset("tabular", "tables", Layout("F32", (COLUMNS,), 2), ("class 0", "class 1"), _tabular, fixed=False),
        )
    }
)
"""The data sets by name."""
