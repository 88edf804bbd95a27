"""Data of built-in tasks; what tasks of the user's own get stands in test_local_folders.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.datasets.catalogue import DATASETS, Origin
from client.datasets.partition import Partition
from client.datasets.shards import read_shard
from fedtier.problems import StartupError
from fedtier.upstream import file_sha256
from fedtier_cli.client_data import ClientData, prepare_data, write_test_shard
from fedtier_cli.splitting import Recipe, split_into

TABULAR = DATASETS["tabular"]


def prepared(
    folder: Path,
    task: str = "tabular_cnn",
    *,
    partition: Partition | None = None,
    data_dir: Path | None = None,
    rows: tuple[str, ...] = (),
) -> ClientData:
    return prepare_data(
        task,
        clients=3,
        seed=5,
        partition=partition or Partition(),
        origin=Origin(cache=folder / "cache", data_dir=data_dir, rows=rows),
        shards=folder / "shards",
    )


def kept_mnist_shards(folder: Path) -> list[Path]:
    """Leave files as a run with MNIST would, so that the data themselves are not needed."""
    folder.mkdir()
    paths = [folder / f"{name}.safetensors" for name in ("client-0", "client-1", "client-2", "test")]
    for path in paths:
        path.write_bytes(b"of the run before")
    (folder / "made-from.json").write_bytes(Recipe(DATASETS["mnist"], 3, 5, Partition()).to_json())
    return paths


def test_a_built_in_task_gets_the_shards_that_the_split_command_makes(tmp_path: Path) -> None:
    partition = Partition("dirichlet", alpha=0.3)
    data = prepared(tmp_path, partition=partition)
    dealt = split_into(
        tmp_path / "same", Recipe(TABULAR, 3, 5, partition), Origin(cache=tmp_path / "cache"), flag="--saved_dir"
    )
    made, same = (*data.clients, data.test), (*dealt.clients, dealt.test)
    assert [path.name for path in made] == [path.name for path in same]
    assert [file_sha256(path) for path in made] == [file_sha256(path) for path in same]


def test_shards_of_the_run_before_stay_when_nothing_changed(tmp_path: Path) -> None:
    before = kept_mnist_shards(tmp_path / "shards")
    data = prepared(tmp_path, "mnist_2nn")
    assert [*data.clients, data.test] == before
    assert {path.read_bytes() for path in before} == {b"of the run before"}


def test_shards_of_the_run_before_do_not_do_for_another_partition(tmp_path: Path) -> None:
    kept_mnist_shards(tmp_path / "shards")
    with pytest.raises(StartupError, match=r"MNIST cannot be had"):
        prepared(tmp_path, "mnist_2nn", partition=Partition("shards"))


def test_rows_are_not_passed_over_where_shards_stay(tmp_path: Path) -> None:
    kept_mnist_shards(tmp_path / "shards")
    with pytest.raises(StartupError, match=r"--rows belongs to the data set tabular, not to MNIST; leave it out"):
        prepared(tmp_path, "mnist_2nn", rows=("a.csv", "b.csv"))


def test_changed_tables_are_split_anew(tmp_path: Path) -> None:
    rows = tuple(str(tmp_path / name) for name in ("zeros.csv", "ones.csv"))
    for lines in (20, 30):
        for place in rows:
            Path(place).write_text("\n".join(",".join(map(str, range(line, line + 17))) for line in range(lines)))
        data = prepared(tmp_path, rows=rows)
        assert sum(len(read_shard(path, TABULAR.layout).labels) for path in data.clients) == 2 * lines * 4 // 5


@pytest.mark.parametrize(("partition", "rows"), [(Partition("shards"), ()), (Partition(), ("a.csv", "b.csv"))])
def test_the_data_of_a_task_of_the_users_own_are_not_split(
    partition: Partition, rows: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(StartupError, match=r"own.py:Task brings its own data, which are not split here; leave out"):
        prepared(tmp_path, "own.py:Task", partition=partition, rows=rows, data_dir=tmp_path)


@pytest.mark.parametrize("task", ["mnist_cnn", "own.py:Task"])
def test_a_data_dir_that_is_no_folder_is_named(task: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"--data-dir .*none is no folder"):
        prepared(tmp_path, task, data_dir=tmp_path / "none")


def test_a_task_of_the_users_own_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(
        StartupError, match=r"own.py:Task needs its data; name the folder that holds it with --data-dir"
    ):
        prepared(tmp_path, "own.py:Task")


def test_the_test_examples_alone_are_those_of_a_split(tmp_path: Path) -> None:
    write_test_shard("tabular", Origin(cache=tmp_path / "cache"), tmp_path / "alone.safetensors")
    assert file_sha256(tmp_path / "alone.safetensors") == file_sha256(prepared(tmp_path).test)


def test_test_examples_that_cannot_be_written_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"the test examples cannot be written to .*none"):
        write_test_shard("tabular", Origin(cache=tmp_path / "cache"), tmp_path / "none" / "test.safetensors")
