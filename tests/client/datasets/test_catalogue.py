from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from client.datasets.catalogue import DATASETS, Origin, dataset_named
from client.datasets.shards import read_shard, write_shard
from client.task import BUILT_IN
from fedtier.problems import StartupError


def refusal(name: str, origin: Origin) -> str:
    with pytest.raises(StartupError) as caught:
        dataset_named(name).load(origin)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory that has the files of two data sets."""
    for name in ("class-0.csv", "class-1.csv"):
        with (files("client.datasets") / "samples" / name).open("rb") as sample, (tmp_path / name).open("wb") as copy:
            shutil.copyfileobj(sample, copy)
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        (tmp_path / name).write_bytes(b"\3" * 3073 * 2)
    return tmp_path


def test_every_built_in_task_has_its_data_set() -> None:
    assert {task.dataset for task in BUILT_IN.values()} == set(DATASETS)


def test_every_data_set_has_a_name_for_each_label_and_a_size_for_each_example() -> None:
    for name, dataset in DATASETS.items():
        assert dataset.name == name
        assert len(dataset.label_names) == len(set(dataset.label_names)) == dataset.layout.classes
        assert min(dataset.layout.shape) >= 1


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_gives_shards_of_its_layout(
    name: str, mnist_cache: Path, data_dir: Path, tmp_path: Path
) -> None:
    dataset = dataset_named(name)

    split = dataset.load(Origin(cache=tmp_path, data_dir=mnist_cache if name == "mnist" else data_dir))

    write_shard(tmp_path / "shard", split.test)
    shard = read_shard(tmp_path / "shard", dataset.layout)
    np.testing.assert_array_equal(shard.inputs, split.test.inputs, strict=True)
    assert split.train.inputs.shape[1:] == dataset.layout.shape
    assert split.train.inputs.dtype == split.test.inputs.dtype


def test_an_unknown_data_set_is_one_clear_sentence() -> None:
    with pytest.raises(StartupError) as caught:
        dataset_named("imagenet")

    assert str(caught.value) == "there is no data set 'imagenet'; choose one of mnist, cifar10, tabular"


def test_mnist_comes_from_the_cache_and_from_sources(mnist_cache: Path, tmp_path: Path) -> None:
    assert len(dataset_named("mnist").load(Origin(cache=mnist_cache)).train.labels) == 60_000
    assert "MNIST cannot be had" in refusal("mnist", Origin(cache=tmp_path))


def test_tables_come_from_a_directory_from_named_files_or_from_the_samples(data_dir: Path, tmp_path: Path) -> None:
    tabular = dataset_named("tabular")
    rows = (str(data_dir / "class-0.csv"), str(data_dir / "class-1.csv"))

    splits = [
        tabular.load(Origin(cache=tmp_path)),
        tabular.load(Origin(cache=tmp_path, data_dir=data_dir)),
        tabular.load(Origin(cache=tmp_path, rows=rows)),
    ]

    assert len({split.train.inputs.tobytes() for split in splits}) == 1
    swapped = tabular.load(Origin(cache=tmp_path, rows=rows[::-1]))
    assert swapped.train.labels.mean() != splits[0].train.labels.mean()


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_rows_belong_to_tables_only(name: str, data_dir: Path) -> None:
    origin = Origin(cache=data_dir, data_dir=data_dir, rows=("a.csv", "b.csv"))

    assert "--rows belongs to the data set tabular, not to" in refusal(name, origin)


@pytest.mark.parametrize(("rows", "says"), [(("a.csv",), "names 1 file, wanted 2"), (("a", "b", "c"), "names 3 files")])
def test_there_is_one_file_of_rows_per_class(tmp_path: Path, rows: tuple[str, ...], says: str) -> None:
    assert says in refusal("tabular", Origin(cache=tmp_path, rows=rows))


def test_rows_and_a_data_directory_exclude_each_other(data_dir: Path) -> None:
    origin = Origin(cache=data_dir, data_dir=data_dir, rows=("a.csv", "b.csv"))

    assert "leave one of them out" in refusal("tabular", origin)


def test_a_directory_without_tables_is_one_clear_sentence(data_dir: Path) -> None:
    (data_dir / "class-1.csv").unlink()

    assert "class-1.csv does not exist" in refusal("tabular", Origin(cache=data_dir, data_dir=data_dir))
    nowhere = Origin(cache=data_dir, data_dir=data_dir / "nowhere")
    assert "nowhere does not exist; name one with class-0.csv and class-1.csv" in refusal("tabular", nowhere)


def test_cifar10_wants_a_directory(tmp_path: Path) -> None:
    assert "--data-dir" in refusal("cifar10", Origin(cache=tmp_path))


def test_importing_the_catalogue_does_not_import_torch() -> None:
    program = "import sys, client.datasets.catalogue; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], env=os.environ, check=False).returncode == 0
