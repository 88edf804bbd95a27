from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.datasets.cifar10 import load_cifar10
from fedtier.problems import StartupError

FILES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
PAGE = "www.cs.toronto.edu/~kriz/cifar.html"


def record(label: int, red: int, green: int, blue: int) -> bytes:
    """Return an image of one colour, whose first pixel of each plane is one less."""
    planes = (bytes([level - 1]) + bytes([level]) * 1023 for level in (red, green, blue))
    return bytes([label]) + b"".join(planes)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory with two records in each file; the label of the first is the file's number."""
    for number, name in enumerate(FILES):
        (tmp_path / name).write_bytes(record(number, 10 + number, 100, 200) + record(9, 30, 40, 50))
    return tmp_path


def refusal(data_dir: Path | None) -> str:
    with pytest.raises(StartupError) as caught:
        load_cifar10(data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_come_as_planes_of_bytes_in_the_order_of_the_files(data_dir: Path) -> None:
    cifar10 = load_cifar10(data_dir)

    assert cifar10.train.inputs.shape == (10, 3, 32, 32)
    assert cifar10.test.inputs.shape == (2, 3, 32, 32)
    assert cifar10.train.inputs.dtype == cifar10.train.labels.dtype == np.uint8
    assert cifar10.train.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert cifar10.test.labels.tolist() == [5, 9]
    image = cifar10.train.inputs[4]
    assert [image[plane, 0, 0] for plane in range(3)] == [11, 99, 199]
    assert [set(image[plane].flat[1:].tolist()) for plane in range(3)] == [{12}, {100}, {200}]


def test_the_folder_that_the_archive_unpacks_to_does_as_well(data_dir: Path) -> None:
    folder = data_dir / "cifar-10-batches-bin"
    folder.mkdir()
    for name in FILES:
        (data_dir / name).rename(folder / name)

    assert load_cifar10(data_dir).test.labels.tolist() == load_cifar10(folder).test.labels.tolist() == [5, 9]


def test_nobody_fetches_it(data_dir: Path) -> None:
    sentence = refusal(None)

    assert "name its folder with --data-dir" in sentence
    assert PAGE in sentence


def test_a_missing_directory_says_where_the_files_are_to_be_had(tmp_path: Path) -> None:
    sentence = refusal(tmp_path / "nowhere")

    assert f"{tmp_path / 'nowhere'} does not exist" in sentence
    assert PAGE in sentence


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_and_says_where_it_is_to_be_had(data_dir: Path, name: str) -> None:
    (data_dir / name).unlink()

    sentence = refusal(data_dir)

    assert f"there is no {name} in {data_dir}" in sentence
    assert PAGE in sentence


def test_a_file_that_cannot_be_read_is_one_clear_sentence(data_dir: Path) -> None:
    (data_dir / FILES[2]).unlink()
    (data_dir / FILES[2]).mkdir()

    assert "data_batch_3.bin cannot be read" in refusal(data_dir)


@pytest.mark.parametrize("size", [0, 1, 3072, 3074, 3073 + 3072])
def test_a_file_of_no_whole_records_is_one_clear_sentence(data_dir: Path, size: int) -> None:
    (data_dir / "test_batch.bin").write_bytes(bytes(size))

    assert f"test_batch.bin has {size} bytes, wanted one or more whole records of 3073" in refusal(data_dir)


def test_a_label_that_cannot_be_is_named_with_its_record(data_dir: Path) -> None:
    (data_dir / "data_batch_4.bin").write_bytes(record(9, 1, 1, 1) + record(10, 1, 1, 1))

    assert "data_batch_4.bin has the label 10 in record 1, wanted 0 to 9" in refusal(data_dir)
