from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.datasets.shards import Shard, client_shard, held_out_shard, read_shard, write_shard, write_shards
from fedtier.dtypes import Array
from fedtier.problems import StartupError
from fedtier.tensors import write_arrays


def examples(count: int, seed: int = 0) -> Shard:
    draw = np.random.default_rng(seed)
    return Shard(draw.integers(0, 256, (count, 28, 28), dtype=np.uint8), draw.integers(0, 10, count, dtype=np.uint8))


def assert_same(left: Shard, right: Shard) -> None:
    np.testing.assert_array_equal(left.images, right.images)
    np.testing.assert_array_equal(left.labels, right.labels)


def test_each_client_gets_its_part_and_all_share_the_test_examples(tmp_path: Path) -> None:
    train, test = examples(7), examples(3, seed=1)
    parts = [np.array([0, 2, 4]), np.array([1, 3, 5, 6])]

    paths = write_shards(tmp_path / "shards", train, parts, test)

    assert paths == [client_shard(tmp_path / "shards", 0), client_shard(tmp_path / "shards", 1)]
    for path, part in zip(paths, parts, strict=True):
        assert_same(read_shard(path), train.part(part))
    assert_same(read_shard(held_out_shard(tmp_path / "shards")), test)
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [
        "client-0.safetensors",
        "client-1.safetensors",
        "test.safetensors",
    ]


def test_the_same_examples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / name, examples(5))

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_shard_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"client-0\.safetensors does not exist; make shards"):
        read_shard(client_shard(tmp_path, 0))


def test_a_directory_is_no_shard(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot be read"):
        read_shard(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_shard_cut_short_is_one_clear_sentence(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.safetensors"
    write_shard(path, examples(3))
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(StartupError, match="not a safetensors file") as caught:
        read_shard(path)
    assert "\n" not in str(caught.value)


IMAGES, LABELS = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, "holds nothing"),
        ({"x": IMAGES}, r"holds x U8 \[2, 28, 28\], wanted"),
        ({"x": IMAGES[:, :14], "y": LABELS}, r"x U8 \[2, 14, 28\]"),
        ({"x": IMAGES[:1], "y": LABELS}, r"x U8 \[1, 28, 28\], y U8 \[2\]"),
        ({"x": IMAGES.astype(np.float32), "y": LABELS}, "x F32"),
        ({"x": IMAGES, "y": LABELS, "z": LABELS}, r"z U8"),
        ({"x": IMAGES[:0], "y": LABELS[:0]}, "n at least 1"),
        ({"x": IMAGES, "y": LABELS + np.uint8(10)}, "the label 10, wanted 0 to 9"),
    ],
)
def test_a_file_that_is_no_shard_says_what_it_holds(tmp_path: Path, arrays: dict[str, Array], says: str) -> None:
    path = tmp_path / "other.safetensors"
    with path.open("wb") as file:
        write_arrays(file, arrays)

    with pytest.raises(StartupError, match=says):
        read_shard(path)
