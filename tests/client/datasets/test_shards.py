from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.datasets.shards import Layout, Shard, client_shard, held_out_shard, read_shard, write_shard, write_shards
from fedtier.dtypes import Array
from fedtier.problems import StartupError
from fedtier.tensors import write_arrays

IMAGE = Layout("U8", (28, 28), 10)
ROW = Layout("F32", (17,), 2)


def examples(count: int, seed: int = 0, layout: Layout = IMAGE) -> Shard:
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 256, (count, *layout.shape))
    dtype = np.uint8 if layout.dtype == "U8" else np.float32
    return Shard(values.astype(dtype), draw.integers(0, layout.classes, count, dtype=np.uint8))


def parts_of(clients: int) -> list[Array]:
    return [np.array([client]) for client in range(clients)]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def assert_same(left: Shard, right: Shard) -> None:
    np.testing.assert_array_equal(left.inputs, right.inputs, strict=True)
    np.testing.assert_array_equal(left.labels, right.labels, strict=True)


@pytest.mark.parametrize("layout", [IMAGE, ROW, Layout("F64", (), 3)], ids=["images", "rows", "numbers"])
def test_each_client_gets_its_part_and_all_share_the_test_examples(tmp_path: Path, layout: Layout) -> None:
    train, test = examples(7, layout=layout), examples(3, seed=1, layout=layout)
    if layout.dtype == "F64":
        train, test = (Shard(shard.inputs.astype(np.float64), shard.labels) for shard in (train, test))
    parts = [np.array([0, 2, 4]), np.array([1, 3, 5, 6])]

    paths = write_shards(tmp_path / "shards", train, parts, test)

    assert paths == [client_shard(tmp_path / "shards", 0), client_shard(tmp_path / "shards", 1)]
    for path, part in zip(paths, parts, strict=True):
        assert_same(read_shard(path, layout), train.part(part))
    assert_same(read_shard(held_out_shard(tmp_path / "shards"), layout), test)
    assert names(tmp_path / "shards") == ["client-0.safetensors", "client-1.safetensors", "test.safetensors"]


def test_the_same_examples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / name, examples(5))

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_shard_s_file_is_header_inputs_labels(tmp_path: Path) -> None:
    shard = Shard(np.array([[1.5], [-2.0]], np.float32), np.array([1, 0], np.uint8))

    write_shard(tmp_path / "a", shard)

    header = (
        b'{"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"y":{"dtype":"U8","shape":[2],"data_offsets":[8,10]}}'
    )
    padded = header + b" " * (-len(header) % 8)
    values = bytes.fromhex("0000c03f 000000c0 01 00")
    assert (tmp_path / "a").read_bytes() == len(padded).to_bytes(8, "little") + padded + values


@settings(deadline=None, max_examples=20)
@given(earlier=st.integers(1, 12), later=st.integers(1, 12))
def test_after_a_split_the_directory_has_its_clients_and_no_others(
    tmp_path_factory: pytest.TempPathFactory, earlier: int, later: int
) -> None:
    directory = tmp_path_factory.mktemp("shards")
    write_shards(directory, examples(12), parts_of(earlier), examples(1))

    # Of another data set, so that what is left over differs in layout too.
    rows = examples(12, layout=ROW)
    write_shards(directory, rows, parts_of(later), rows)

    assert names(directory) == sorted(
        [*(f"client-{client}.safetensors" for client in range(later)), "test.safetensors"]
    )
    assert_same(read_shard(client_shard(directory, later - 1), ROW), rows.part(np.array([later - 1])))


def test_what_only_bears_the_name_of_a_shard_stays(tmp_path: Path) -> None:
    inputs, labels = np.zeros((2, 3), np.float32), np.zeros(2, np.uint8)
    elsewhere = tmp_path / "elsewhere.safetensors"
    write_shard(elsewhere, examples(2))
    directory = tmp_path / "shards"
    directory.mkdir()
    (directory / "client-5.safetensors").write_bytes(b"not safetensors")
    (directory / "client-6.safetensors").mkdir()
    client_shard(directory, 7).symlink_to(elsewhere)
    others: list[tuple[int, dict[str, Array], dict[str, str]]] = [
        (8, {"x": inputs, "y": labels}, {"made by": "somebody"}),
        (9, {"x": inputs, "y": labels, "z": labels}, {}),
        (10, {"y": labels, "x": inputs}, {}),
        (11, {"x": inputs, "y": labels[:1]}, {}),
        (12, {"x": inputs, "y": labels.astype(np.int64)}, {}),
    ]
    for client, arrays, metadata in others:
        with client_shard(directory, client).open("wb") as file:
            write_arrays(file, arrays, metadata=metadata)
    for name in (
        "client-013.safetensors",
        "client-14.safetensors.bak",
        "my-client-15.safetensors",
        "client-x.safetensors",
    ):
        write_shard(directory / name, examples(2))
    before = names(directory)

    write_shards(directory, examples(1), parts_of(1), examples(1))

    assert names(directory) == sorted([*before, "client-0.safetensors", "test.safetensors"])


def test_a_split_that_cannot_be_written_leaves_no_half_file(tmp_path: Path) -> None:
    client_shard(tmp_path, 1).mkdir()

    with pytest.raises(OSError, match="client-1"):
        write_shards(tmp_path, examples(2), parts_of(2), examples(1))

    assert names(tmp_path) == ["client-0.safetensors", "client-1.safetensors"]


def test_a_missing_shard_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartupError) as caught:
        read_shard(client_shard(tmp_path, 0), IMAGE)

    says = "client-0.safetensors does not exist; make shards with data_splitter.py, or name another file"
    assert str(caught.value).endswith(says)


def test_a_directory_is_no_shard(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot be read"):
        read_shard(tmp_path, IMAGE)


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_shard_cut_short_is_one_clear_sentence(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.safetensors"
    write_shard(path, examples(3))
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(StartupError, match="not a safetensors file") as caught:
        read_shard(path, IMAGE)
    assert "\n" not in str(caught.value)


IMAGES, LABELS = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, r"holds nothing, wanted x U8 \[n, 28, 28\] and y U8 \[n\] with n at least 1"),
        ({"x": IMAGES}, r"holds x U8 \[2, 28, 28\], wanted"),
        ({"x": IMAGES[:, :14], "y": LABELS}, r"x U8 \[2, 14, 28\]"),
        ({"x": IMAGES[:1], "y": LABELS}, r"x U8 \[1, 28, 28\], y U8 \[2\]"),
        ({"x": IMAGES.astype(np.float32), "y": LABELS}, "x F32"),
        ({"x": IMAGES, "y": LABELS.astype(np.int64)}, "y I64"),
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
        read_shard(path, IMAGE)


def test_a_shard_of_another_data_set_is_one_clear_sentence(tmp_path: Path) -> None:
    path = tmp_path / "rows.safetensors"
    write_shard(path, examples(3, layout=ROW))

    with pytest.raises(StartupError, match=r"holds x F32 \[3, 17\], y U8 \[3\], wanted x U8 \[n, 28, 28\]"):
        read_shard(path, IMAGE)
    with pytest.raises(StartupError, match=r"wanted x F32 \[n, 16\]"):
        read_shard(path, Layout("F32", (16,), 2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_with_their_place(tmp_path: Path, value: float) -> None:
    rows = examples(3, layout=ROW)
    rows.inputs[1, 16] = rows.inputs[2, 0] = value
    write_shard(tmp_path / "rows.safetensors", rows)

    with pytest.raises(StartupError, match=rf"has {value} in example 1, value \[16\], wanted finite numbers"):
        read_shard(tmp_path / "rows.safetensors", ROW)
