"""``fedtier split`` on the tables that come with the client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedtier.fields import sha256_hex
from fedtier.store import RoundStore
from fedtier.tensors import TensorFile, write_arrays
from fedtier.upstream import file_sha256
from tests.fedtier_cli.runs import TASK, facts_of
from tests.fedtier_cli.split_calls import done, refused, split

DATA_SPLITTER = Path(__file__).parents[2] / "data_splitter.py"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FEDTIER_HOME", "FEDTIER_BUCKET_NAME", "FEDTIER_BUCKET_KEY"):
        monkeypatch.delenv(name, raising=False)


def fact(output: str, event: str) -> dict[str, Any]:
    [found] = facts_of(output, event)
    return found


def model_file(path: Path, value: float) -> bytes:
    with path.open("wb") as file:
        write_arrays(file, {"weight": np.full(3, value, np.float32)})
    return path.read_bytes()


def test_shards_and_a_picture_are_written() -> None:
    done("--clients", 2)
    names = ["client-0.safetensors", "client-1.safetensors", "label-distribution.png", "made-from.json"]
    assert sorted(path.name for path in Path("shards").iterdir()) == [*names, "test.safetensors"]


def test_the_script_is_the_command() -> None:
    flags = ["--dataset", "tabular", "--n_label", "1", "--n_data", "4", "--clients", "3", "--saved_dir", "out"]
    script = subprocess.run([sys.executable, DATA_SPLITTER, *flags], capture_output=True, text=True, check=True)
    assert "tables among 3 clients: uniform, 1 label, 4 of each, seed 0" in script.stdout
    assert len(list(Path("out").glob("client-*.safetensors"))) == 3


def test_everybody_sees_what_each_client_got() -> None:
    lines = done("--clients", 3, "--n_data", 7, "--no-picture").splitlines()
    assert lines[0] == "tables among 3 clients: uniform, 7 of each, seed 0"
    assert [line.split() for line in lines if line.startswith("client-")] == [
        [f"client-{number}", "14", "7", "7"] for number in range(3)
    ]
    assert "42 examples for 3 clients; each has 14 of 2 labels; nobody has the other 1,570" in lines
    assert "written to shards" in lines


def test_of_many_clients_the_first_are_shown_and_json_has_all() -> None:
    output = done("--clients", 100, "--partition", "quantity", "--no-picture")
    assert sum(line.startswith("client-") for line in output.splitlines()) == 12
    assert "\n… and 88 more" in output
    facts = facts_of(done("--clients", 100, "--partition", "quantity", "--no-picture", "--json"), "shard")
    assert [shard["client"] for shard in facts] == [f"client-{number}" for number in range(100)]
    sizes = [shard["examples"] for shard in facts]
    assert f"each has {min(sizes):,} to {max(sizes):,} (median {np.median(sizes):,g}) of" in output


def test_columns_are_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert [line.split() for line in done("--clients", 1, "--no-picture").splitlines()[3:5]] == [
        ["client-0", "1612", "824", "788"],
        ["test", "403", "206", "197"],
    ]


def test_facts_agree_with_the_files() -> None:
    output = done("--clients", 2, "--seed", 3, "--json")
    for shard in (*facts_of(output, "shard"), fact(output, "test")):
        labels = TensorFile(Path(shard["path"])).array("y")
        assert shard["labels"] == {f"class {label}": int((labels == label).sum()) for label in range(2)}
        assert shard["examples"] == len(labels)
        assert shard["sha256"] == file_sha256(Path(shard["path"]))
    assert fact(output, "split") == {
        **{"event": "split", "dataset": "tabular", "clients": 2, "seed": 3},
        "partition": {"scheme": "iid", "alpha": 0.5, "n_label": None, "n_data": None},
        **{"examples": 1612, "unused": 0},
        "sizes": {"min": 806, "median": 806, "max": 806},
        "labels_per_client": {"min": 2, "median": 2, "max": 2},
    }
    assert Path(fact(output, "picture")["path"]).read_bytes().startswith(b"\x89PNG")


def test_the_seed_decides_every_byte() -> None:
    for folder, seed in (("one", 7), ("same", 7), ("other", 8)):
        done("--clients", 3, "--partition", "dirichlet", "--seed", seed, "--saved_dir", folder)
    one, same, other = (
        {path.name: file_sha256(path) for path in Path(folder).iterdir()} for folder in ("one", "same", "other")
    )
    assert one == same
    assert one["client-0.safetensors"] != other["client-0.safetensors"]


def test_without_matplotlib_there_are_shards_and_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = split("--clients", 2)
    assert result.exit_code == 0
    assert "install the view extra" in result.stderr
    assert not Path("shards/label-distribution.png").exists()
    assert split("--clients", 2, "--no-picture").stderr == ""


@pytest.mark.parametrize(("flags", "loaded"), [([], True), (["--no-picture"], False)])
def test_matplotlib_is_loaded_only_where_there_is_something_to_draw(flags: list[str], loaded: bool) -> None:
    script = (
        "import sys; from fedtier_cli.split_command import split; "
        f"split({['--dataset', 'tabular', '--clients', '2', *flags]}, standalone_mode=False); "
        "print('matplotlib' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == str(loaded)


def test_a_picture_of_other_shards_does_not_stay() -> None:
    done("--clients", 2)
    done("--clients", 3, "--no-picture")
    assert not Path("shards/label-distribution.png").exists()


def test_every_seed_that_is_taken_is_one_that_models_can_be_drawn_from() -> None:
    done("--seed", 2**63 - 1, "--init_model", "tabular_cnn", "--no-picture")
    assert split("--seed", 2**63).exit_code == 2


def test_an_ssh_key_belongs_to_an_inventory_and_must_exist() -> None:
    Path("key").touch()
    assert "--key_path is the SSH key for the hosts of an inventory; give --inventory too" in refused(
        "--key_path", "key"
    )
    assert not Path("shards").exists()
    result = split("--key_path", "none")
    assert (result.exit_code, "'none' does not exist" in result.stderr) == (2, True)


def test_no_initial_model_is_made_where_nobody_wants_one() -> None:
    done("--clients", 2)
    assert not Path("shards/initial.safetensors").exists()


def test_an_initial_model_is_a_tasks_untrained_one_by_seed() -> None:
    made = []
    for seed in (1, 1, 2):
        output = done("--init_model", "tabular_cnn", "--seed", seed, "--json", "--no-picture")
        facts = fact(output, "initial_model")
        assert facts["sha256"] == file_sha256(Path("shards/initial.safetensors"))
        made.append(facts["sha256"])
    assert made[0] == made[1] != made[2]


def test_the_seed_alone_decides_a_built_in_tasks_initial_model_however_the_data_are_split() -> None:
    made = set()
    for clients, partition in ((2, "iid"), (5, "quantity")):
        output = done("--clients", clients, "--partition", partition, "--init_model", "tabular_cnn", "--json")
        made.add(fact(output, "initial_model")["sha256"])
    assert len(made) == 1


def test_an_initial_model_can_be_a_file() -> None:
    content = model_file(Path("mine.safetensors"), 4)
    done("--init_model", "mine.safetensors")
    assert Path("shards/initial.safetensors").read_bytes() == content
    done("--init_model", "shards/initial.safetensors")
    assert Path("shards/initial.safetensors").read_bytes() == content


TASKS = """
import numpy as np

class Mean:
    model = {"mean": np.zeros(2, np.float32)}

    def __init__(self, data):
        assert data.name == "client-0.safetensors"

    def initial_model(self, seed):
        return self.model

    def fit(self, arrays, config):
        return arrays, 1, {}

class Talkative(Mean):
    def initial_model(self, seed):
        print('{"event": "published"}')
        return self.model

class Failing(Mean):
    def initial_model(self, seed):
        raise RuntimeError("no luck\\nat all")

class Infinite(Mean):
    model = {"mean": np.array([1, np.inf], np.float32)}

class Wordy(Mean):
    model = {"mean": np.array(["word"])}

class Listing(Mean):
    model = [1.0]
"""


def test_an_initial_model_can_be_of_a_task_of_the_users_own() -> None:
    Path("own.py").write_text(TASKS)
    done("--init_model", "own.py:Mean")
    assert TensorFile(Path("shards/initial.safetensors")).array("mean").tolist() == [0, 0]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("own.py:Failing", "the task own.py:Failing cannot make an initial model: RuntimeError: no luck at all; check"),
        ("own.py:Infinite", "the initial model of own.py:Infinite has no values to train"),
        ("own.py:Wordy", "the initial model of the task own.py:Wordy cannot be stored: "),
        ("own.py:Listing", "the initial model of the task own.py:Listing cannot be stored: "),
        ("own.py:Missing", "the task 'own.py:Missing' cannot be loaded: own.py has no class or function 'Missing'"),
    ],
)
def test_a_task_without_a_model_that_can_be_summed_is_refused(source: str, sentence: str) -> None:
    Path("own.py").write_text(TASKS)
    assert sentence in refused("--init_model", source)
    assert not list(Path("shards").glob("*initial*"))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("checkpoint.pt", "--init-model 'checkpoint.pt' is neither a .safetensors file nor a task (mnist_cnn, "),
        ("own.py:", "--init-model 'own.py:' is neither a .safetensors file nor a task (mnist_cnn, "),
        (":Task", "--init-model ':Task' is neither a .safetensors file nor a task (mnist_cnn, "),
        ("none.safetensors", "the model none.safetensors cannot be read (No such file or directory)"),
        ("text.safetensors", "the model text.safetensors is "),
        ("none.py:Task", "the task 'none.py:Task' cannot be loaded: there is no file none.py"),
        ("mnist_cnn", "the task mnist_cnn learns from the data set mnist, not from tabular; choose --dataset mnist"),
    ],
)
def test_an_initial_model_that_cannot_be_is_told_before_anything_is_split(source: str, sentence: str) -> None:
    Path("text.safetensors").write_text("text")
    assert sentence in refused("--init_model", source)
    assert not Path("shards").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--partition", "shards", "--clients", 900), "1612 examples cannot be cut into 1800 shards"),
        (("--clients", 2000), "1612 examples cannot be dealt out to 2000 clients; choose from 1 to 1612"),
        (("--n_data", 9999), "a smaller --n-data or another --partition"),
        (("--n_label", 3), "--n-label is 3, but the data have 2 labels; choose at most those"),
        (("--rows", "none.csv", "--rows", "none.csv"), "the file none.csv does not exist"),
        (("--rows", "wide.csv", "--rows", "wide.csv"), "wide.csv"),
        (("--rows", "text.csv", "--rows", "text.csv"), "text.csv, line 2"),
        (("--dataset", "mnist", "--rows", "a.csv"), "--rows belongs to the data set tabular, not to MNIST"),
        (("--dataset", "cifar10"), "CIFAR-10 is not fetched by itself"),
        (("--bucket_name", "bucket"), "--bucket_name and --bucket_key belong together; give both"),
        (("--bucket_key", "key.safetensors"), "--bucket_name and --bucket_key belong together; give both"),
        (("--saved_dir", "text.csv"), "text.csv is no folder, wanted one for the shards; choose another --saved_dir"),
        (("--saved_dir", "/proc/none"), "the shards cannot all be written to /proc/none (No such file or directory)"),
    ],
)
def test_what_cannot_be_gets_one_sentence(arguments: tuple[str | int, ...], sentence: str) -> None:
    numbers = ",".join(map(str, range(17)))
    Path("wide.csv").write_text(f"{numbers},1\n{numbers},2\n{numbers},3\n")
    Path("text.csv").write_text(f"{numbers}\n{numbers[:-2]}many\n{numbers}\n")
    assert sentence in refused(*arguments)


def test_a_full_disk_gets_one_sentence() -> None:
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
        "from fedtier_cli.split_command import split; split(['--dataset', 'tabular'])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: the shards cannot all be written to shards (File too large); make room")
    assert len(ended.stderr.splitlines()) == 1
    assert not list(Path("shards").glob("*.safetensors*"))


class TestPublishing:
    @pytest.fixture(autouse=True)
    def _place(self, s3_environment: Mapping[str, str], bucket: str, bucket_key: str) -> None:
        self.store = RoundStore(bucket, bucket_key)
        self.flags = ("--bucket_name", bucket, "--bucket_key", bucket_key, "--clients", 2, "--no-picture")

    def round_zero(self) -> str:
        [published] = self.store.history()
        assert published.round == 0
        return published.manifest.model.sha256

    def test_the_usual_tasks_model_becomes_round_0(self, bucket: str) -> None:
        output = done(*self.flags)
        assert self.round_zero() == file_sha256(Path("shards/initial.safetensors"))
        assert f"published as round 0 at s3://{bucket}/{self.store.keys.prefix}" in output
        assert "initial model of tabular_cnn written to shards/initial.safetensors" in output

    def test_the_same_model_again_does_no_harm(self) -> None:
        done(*self.flags)
        before = self.store.read_head()
        assert fact(done(*self.flags, "--saved_dir", "again", "--json"), "published")["newest"] == 0
        assert self.store.read_head() == before

    def test_a_given_file_becomes_round_0_byte_for_byte(self) -> None:
        content = model_file(Path("mine.safetensors"), 2)
        done(*self.flags, "--init_model", "mine.safetensors")
        assert self.round_zero() == sha256_hex(content)

    def test_another_model_is_refused_with_both_digests(self) -> None:
        first, second = model_file(Path("first.safetensors"), 1), model_file(Path("second.safetensors"), 2)
        done(*self.flags, "--init_model", "first.safetensors")
        sentence = refused(*self.flags, "--init_model", "second.safetensors")
        assert sha256_hex(first) in sentence
        assert sha256_hex(second) in sentence
        assert self.round_zero() == sha256_hex(first)

    def test_a_bucket_that_is_not_there_is_told_before_anything_is_split(self) -> None:
        refused("--bucket_name", "none-of-ours", "--bucket_key", self.store.keys.copy)
        assert not Path("shards").exists()

    def test_a_task_file_of_the_users_own_is_handed_a_shard_and_may_refuse_it(self) -> None:
        assert f"the task '{TASK}' cannot be made with the data" in refused(*self.flags, "--init_model", TASK)
        assert self.store.read_head() is None


def test_facts_are_json_lines_alone_whatever_a_task_prints() -> None:
    Path("own.py").write_text(TASKS)
    output = done("--clients", 2, "--json", "--init_model", "own.py:Talkative")
    assert [json.loads(line)["event"] for line in output.splitlines()] == [
        *("shard", "shard", "test", "split", "picture", "initial_model")
    ]
