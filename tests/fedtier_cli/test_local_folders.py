from __future__ import annotations

from pathlib import Path

import pytest

from client.datasets.catalogue import Origin
from client.datasets.partition import Partition
from client.task import BUILT_IN
from fedtier.problems import StartupError
from fedtier_cli.client_data import prepare_data
from fedtier_cli.rundir import InUse, claimed, first_free, label


def own_data(folder: Path, *, clients: int) -> list[str]:
    data = prepare_data(
        "own.py:Task",
        clients=clients,
        seed=0,
        partition=Partition(),
        origin=Origin(cache=folder, data_dir=folder),
        shards=folder / "shards",
    )
    return [path.name for path in (*data.clients, data.test)]


def folder_with(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_each_client_gets_the_file_of_its_own_number(tmp_path: Path) -> None:
    folder_with(tmp_path, "client-0.csv", "client-1_b.csv", "client-10.csv", "test.csv", "testing.csv")
    assert own_data(tmp_path, clients=2) == ["client-0.csv", "client-1_b.csv", "test.csv"]


def test_without_such_files_each_client_gets_the_folder(tmp_path: Path) -> None:
    assert own_data(folder_with(tmp_path, "points.csv"), clients=2) == [tmp_path.name] * 3


def test_two_files_for_one_client_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"has both client-0.csv and client-0.npy; leave one of them"):
        own_data(folder_with(tmp_path, "client-0.csv", "client-0.npy"), clients=1)


def test_a_client_without_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"not for client-1; add it, or choose fewer --clients"):
        own_data(folder_with(tmp_path, "client-0.csv"), clients=2)


@pytest.mark.parametrize(
    ("task", "name"),
    [
        *((name, name) for name in BUILT_IN),
        ("/some where/digits.py:Net", "digits.Net"),
        ("package.module:Net", "package.Net"),
        ("/a/we ird.py:Net", "we-ird.Net"),
    ],
)
def test_a_task_has_a_name_for_paths_and_keys(task: str, name: str) -> None:
    assert label(task) == name


def test_a_folder_is_one_runs_at_a_time(tmp_path: Path) -> None:
    told = r"in use by a running federation \(process [0-9]+\)"
    with claimed(tmp_path / "run"), pytest.raises(InUse, match=told), claimed(tmp_path / "run"):
        pass
    with claimed(tmp_path / "run") as again:
        assert again.path == tmp_path / "run"


def test_the_next_free_folder_is_taken(tmp_path: Path) -> None:
    with (
        first_free(tmp_path / "run") as one,
        first_free(tmp_path / "run") as two,
        first_free(tmp_path / "run") as three,
    ):
        assert [run.path.name for run in (one, two, three)] == ["run", "run-2", "run-3"]
    with first_free(tmp_path / "run") as later:
        assert later.path.name == "run"


def test_a_folder_of_other_things_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(StartupError, match=r"holds other files"), claimed(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
