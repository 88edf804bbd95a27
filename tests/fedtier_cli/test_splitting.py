from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from client.datasets.catalogue import DATASETS, Dataset, Origin
from client.datasets.partition import Partition
from client.datasets.shards import Layout, Shard, Split, read_shard
from fedtier.problems import StartupError
from fedtier.upstream import file_sha256
from fedtier_cli.splitting import Recipe, is_split_so, split_into

LAYOUT = Layout("U8", (2,), 3)
MNIST = Recipe(DATASETS["mnist"], 4, 0, Partition())


def numbered(count: int) -> Shard:
    """Examples that all differ; label k has more of them than label k + 1."""
    numbers = np.arange(count)
    return Shard(np.stack([numbers % 256, numbers // 256], axis=1).astype(np.uint8), (numbers**2 % 3).astype(np.uint8))


def dataset(*, fixed: bool = True) -> Dataset:
    names = ("none", "one", "two")
    return Dataset("small", "Small", LAYOUT, names, lambda _: Split(numbered(300), numbered(30)), fixed=fixed)


def recipe(clients: int = 4, seed: int = 0, partition: Partition | None = None, *, fixed: bool = True) -> Recipe:
    return Recipe(dataset(fixed=fixed), clients, seed, partition or Partition("dirichlet"))


def digests(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(cache=tmp_path / "cache")


@pytest.mark.parametrize("scheme", ["iid", "uniform", "shards", "dirichlet", "quantity"])
def test_the_same_recipe_gives_the_same_bytes_and_another_seed_others(
    scheme: str, tmp_path: Path, origin: Origin
) -> None:
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        split_into(tmp_path / name, recipe(seed=seed, partition=Partition(scheme)), origin, flag="--saved_dir")
    one, same, other = (digests(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same
    assert {name for name in one if one[name] == other[name]} == {"test.safetensors"}


def test_every_example_is_told_of_and_lies_in_one_shard(tmp_path: Path, origin: Origin) -> None:
    dealt = split_into(tmp_path, recipe(), origin, flag="--saved_dir")
    shards = [read_shard(path, LAYOUT) for path in dealt.clients]
    for row, shard in zip(dealt.counts, shards, strict=True):
        assert row.tolist() == [int((shard.labels == label).sum()) for label in range(3)]
    rows = np.concatenate([shard.inputs for shard in shards])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, numbered(300).inputs.tolist()))
    assert np.array_equal(read_shard(dealt.test, LAYOUT).inputs, numbered(30).inputs)
    assert dealt.test_counts.sum() == 30
    assert dealt.unused == 0


def test_what_nobody_got_is_counted(tmp_path: Path, origin: Origin) -> None:
    dealt = split_into(tmp_path, recipe(partition=Partition("uniform", n_label=2, n_data=5)), origin, flag="--x")
    assert (dealt.counts.tolist(), dealt.unused) == ([[5, 5, 0]] * 4, 260)


def test_a_split_among_fewer_clients_leaves_no_shard_of_the_one_before(tmp_path: Path, origin: Origin) -> None:
    (tmp_path / "client-notes.txt").write_text("mine")
    split_into(tmp_path, recipe(clients=9), origin, flag="--saved_dir")
    split_into(tmp_path, recipe(clients=2), origin, flag="--saved_dir")
    names = {"client-0.safetensors", "client-1.safetensors", "test.safetensors", "made-from.json", "client-notes.txt"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_what_the_shards_are_made_from_lies_beside_them(tmp_path: Path, origin: Origin) -> None:
    split_into(tmp_path, recipe(5, 6, Partition("quantity", alpha=0.3)), origin, flag="--saved_dir")
    assert json.loads((tmp_path / "made-from.json").read_bytes()) == {
        "dataset": "small",
        "clients": 5,
        "seed": 6,
        "partition": {"scheme": "quantity", "alpha": 0.3, "n_label": None, "n_data": None},
    }


def test_shards_are_known_by_all_that_decides_their_bytes(tmp_path: Path, origin: Origin) -> None:
    made = recipe()
    assert not is_split_so(tmp_path, made)
    split_into(tmp_path, made, origin, flag="--saved_dir")
    assert is_split_so(tmp_path, made)
    others = [
        recipe(clients=5),
        recipe(seed=1),
        recipe(partition=Partition("iid")),
        recipe(partition=Partition("dirichlet", alpha=0.4)),
        Recipe(DATASETS["mnist"], 4, 0, Partition("dirichlet")),
    ]
    assert not any(is_split_so(tmp_path, other) for other in others)


@pytest.mark.parametrize("name", ["client-3.safetensors", "test.safetensors", "made-from.json"])
def test_shards_are_not_known_when_a_file_is_gone(name: str, tmp_path: Path, origin: Origin) -> None:
    split_into(tmp_path, recipe(), origin, flag="--saved_dir")
    (tmp_path / name).unlink()
    assert not is_split_so(tmp_path, recipe())


def test_shards_of_data_that_may_change_are_never_known(tmp_path: Path, origin: Origin) -> None:
    split_into(tmp_path, recipe(fixed=False), origin, flag="--saved_dir")
    assert not is_split_so(tmp_path, recipe(fixed=False))


def test_a_split_that_fails_leaves_no_note_of_the_one_before(tmp_path: Path, origin: Origin) -> None:
    split_into(tmp_path, recipe(), origin, flag="--saved_dir")
    (tmp_path / "client-1.safetensors").unlink()
    (tmp_path / "client-1.safetensors").mkdir()
    with pytest.raises(StartupError, match=r"cannot all be written to .* choose another --saved_dir"):
        split_into(tmp_path, recipe(seed=1), origin, flag="--saved_dir")
    assert (tmp_path / "made-from.json").read_bytes() == b""


ENDS_WHILE_IT_WRITES = """
import os, signal, sys
from pathlib import Path
import client.datasets.shards
from client.datasets.catalogue import DATASETS, Origin
from client.datasets.partition import Partition
from fedtier_cli.splitting import Recipe, split_into

replaced = []

def replace(source, target):
    replaced.append(target)
    if len(replaced) == 3:
        os.kill(os.getpid(), signal.Signals[sys.argv[2]])
    os.rename(source, target)

client.datasets.shards.os.replace = replace
split_into(Path(sys.argv[1]), Recipe(DATASETS["tabular"], 5, 1, Partition()), Origin(cache=Path()), flag="--x")
"""


def test_after_a_split_that_was_killed_the_next_one_is_whole_and_leaves_no_trace_of_it(
    tmp_path: Path, origin: Origin
) -> None:
    folder = tmp_path / "shards"
    killed = subprocess.run([sys.executable, "-c", ENDS_WHILE_IT_WRITES, folder, "SIGKILL"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(folder.glob("client-2.safetensors.*"))) == 1
    (folder / "client-2.safetensors.old").touch()
    split_into(folder, recipe(3), origin, flag="--saved_dir")
    split_into(tmp_path / "fresh", recipe(3), origin, flag="--saved_dir")
    (folder / "client-2.safetensors.old").unlink()
    assert digests(folder) == digests(tmp_path / "fresh")


def test_of_two_splits_at_once_into_one_directory_the_second_is_refused(tmp_path: Path, origin: Origin) -> None:
    folder = tmp_path / "shards"
    first = subprocess.Popen([sys.executable, "-c", ENDS_WHILE_IT_WRITES, folder, "SIGSTOP"])
    try:
        assert os.WIFSTOPPED(os.waitpid(first.pid, os.WUNTRACED)[1])
        before = digests(folder)
        with pytest.raises(StartupError, match=r"another process writes shards to .*shards now; wait until it is done"):
            split_into(folder, recipe(3), origin, flag="--saved_dir")
        assert digests(folder) == before
        first.send_signal(signal.SIGCONT)
        assert first.wait() == 0
    finally:
        first.kill()
        first.wait()
    assert len(list(folder.glob("client-*.safetensors"))) == 5
    assert json.loads((folder / "made-from.json").read_bytes())["clients"] == 5


def test_a_link_in_the_place_of_the_note_is_not_followed(tmp_path: Path, origin: Origin) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "made-from.json").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(StartupError, match=r"cannot all be written to .*shards"):
        split_into(tmp_path / "shards", recipe(), origin, flag="--saved_dir")
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("below", ["", "folder", "folder/folder"])
@pytest.mark.parametrize("name", ["file", "link"])
def test_what_is_no_folder_is_told_before_data_are_loaded(name: str, below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(StartupError, match=rf"{name} is no folder, wanted one for the shards; choose another --where"):
        split_into(tmp_path / name / below, MNIST, Origin(cache=tmp_path / "cache"), flag="--where")


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from client.datasets.catalogue import DATASETS, Origin
from client.datasets.partition import Partition
from fedtier.problems import StartupError
from fedtier_cli.splitting import Recipe, split_into

if os.geteuid() == 0:
    os.setuid(65534)
try:
    split_into(Path(sys.argv[1]), Recipe(DATASETS["mnist"], 4, 0, Partition()), Origin(cache=Path()), flag="--where")
except StartupError as error:
    print(error)
"""


@pytest.mark.parametrize(("mode", "below"), [(0o500, ""), (0o500, "folder"), (0o000, "folder/folder")])
def test_a_folder_that_cannot_be_written_to_is_told_before_data_are_loaded(
    mode: int, below: str, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir(mode=mode)
    tried = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS, tmp_path / "closed" / below], capture_output=True, text=True, check=True
    )
    assert tried.stdout.startswith("nothing can be written to the folder ")
    assert tried.stdout.endswith("; change its mode, or choose another --where\n")


def test_a_name_that_is_too_long_gets_a_sentence(tmp_path: Path, origin: Origin) -> None:
    with pytest.raises(StartupError, match=r"cannot all be written to .* \(File name too long\)"):
        split_into(tmp_path / ("x" * 300), recipe(), origin, flag="--where")
