"""``fedtier split`` of some clients' shards, or of none, on the tables that come with the client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from client.datasets.catalogue import Origin
from client.datasets.partition import Partition
from fedtier.store import RoundStore
from fedtier.tensors import TensorFile
from fedtier.upstream import file_sha256
from fedtier_cli.client_data import prepare_data
from fedtier_cli.initial_model import write_initial_model
from tests.fedtier_cli.runs import facts_of
from tests.fedtier_cli.split_calls import done, refused

LIBRARIES_OF_OTHERS = [
    *("boto3", "botocore", "flask", "gunicorn", "tensorboardX", "matplotlib", "tensorboard"),
    *("ansible", "ansible_runner", "python_terraform"),
]
"""What an installation for clients lacks."""
OWN_TASK = """
import numpy as np

class Mean:
    def __init__(self, data):
        assert data.name == "client-0.safetensors"
        assert data.exists()

    def initial_model(self, seed):
        return {"mean": np.zeros(2, np.float32)}

    def fit(self, arrays, config):
        return arrays, 1, {}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FEDTIER_HOME", "FEDTIER_BUCKET_NAME", "FEDTIER_BUCKET_KEY"):
        monkeypatch.delenv(name, raising=False)


def digests(folder: str) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(Path(folder).iterdir())}


@pytest.mark.parametrize("partition", ["iid", "uniform", "shards", "dirichlet", "quantity"])
def test_every_clients_own_shard_has_the_bytes_of_the_whole_split(partition: str) -> None:
    how = ("--clients", 5, "--partition", partition, "--seed", 3)
    done(*how, "--saved_dir", "whole", "--no-picture")
    for number in range(5):
        done(*how, "--saved_dir", f"own-{number}", "--only", f"client-{number}")
        name = f"client-{number}.safetensors"
        assert file_sha256(Path(f"own-{number}", name)) == digests("whole")[name]


def test_shards_and_model_are_those_of_a_local_run(tmp_path: Path) -> None:
    run = prepare_data(
        "tabular_cnn",
        clients=3,
        seed=4,
        partition=Partition("dirichlet"),
        origin=Origin(cache=tmp_path / "cache"),
        shards=tmp_path / "run",
    )
    write_initial_model(tmp_path / "initial.safetensors", "tabular_cnn", data=run.clients[0], seed=4)
    done("--clients", 3, "--seed", 4, "--partition", "dirichlet", "--only", "client-1")
    done("--seed", 4, "--no-shards", "--init_model", "tabular_cnn")
    assert digests("shards")["client-1.safetensors"] == file_sha256(run.clients[1])
    assert digests("shards")["initial.safetensors"] == file_sha256(tmp_path / "initial.safetensors")


def test_nothing_but_the_shards_that_were_asked_for_is_written() -> None:
    output = done("--clients", 4, "--only", "client-3", "--only", "client-1", "--only", "client-3", "--json")
    assert set(digests("shards")) == {"client-1.safetensors", "client-3.safetensors", "made-from.json"}
    assert [shard["client"] for shard in facts_of(output, "shard")] == ["client-1", "client-3"]
    for shard in facts_of(output, "shard"):
        labels = TensorFile(Path(shard["path"])).array("y")
        assert shard["labels"] == {f"class {label}": int((labels == label).sum()) for label in range(2)}
        assert shard["sha256"] == file_sha256(Path(shard["path"]))


def test_a_person_sees_those_clients_and_their_files() -> None:
    lines = done("--clients", 4, "--only", "client-2").splitlines()
    assert lines[0] == "tables among 4 clients: iid, seed 0"
    assert [line.split()[:2] for line in lines if line.startswith(("client-", "test"))] == [["client-2", "403"]]
    assert lines[-1] == "written to shards/client-2.safetensors"


def test_variables_say_which_as_they_do_in_a_pod() -> None:
    environment = {"FEDTIER_ONLY": "client-1", "FEDTIER_CLIENTS": "3", "FEDTIER_SAVED_DIR": "own"}
    done(environment=environment)
    assert "client-1.safetensors" in digests("own")
    assert "client-0.safetensors" not in digests("own")


def test_what_lies_there_stays_and_no_longer_passes_for_a_whole_split() -> None:
    done("--clients", 4)
    before = digests("shards")
    done("--clients", 4, "--only", "client-2")
    assert digests("shards") == before
    done("--clients", 4, "--seed", 1, "--only", "client-2")
    after = digests("shards")
    assert {name for name in before if before[name] != after[name]} == {"client-2.safetensors", "made-from.json"}
    assert Path("shards/made-from.json").read_bytes() == b""


def test_the_initial_model_alone_is_that_of_a_split_and_needs_no_data() -> None:
    done("--seed", 5, "--init_model", "tabular_cnn", "--saved_dir", "whole", "--no-picture")
    output = done(
        *("--seed", 5, "--init_model", "tabular_cnn", "--saved_dir", "model/of", "--no-shards", "--data-dir", "none"),
        "--json",
    )
    [fact] = facts_of(output, "initial_model")
    assert digests("model/of") == {"initial.safetensors": digests("whole")["initial.safetensors"]}
    assert fact["sha256"] == digests("whole")["initial.safetensors"]


def test_the_model_of_every_built_in_data_set_can_be_made_without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTIER_MNIST_MIRRORS", "")
    monkeypatch.setenv("PATH", "")  # nor npm
    for dataset, task in (("mnist", "mnist_cnn"), ("cifar10", "cifar_cnn")):
        done("--dataset", dataset, "--no-shards", "--init_model", task, "--saved_dir", task)
        assert TensorFile(Path(task, "initial.safetensors")).header.specs


def test_beside_one_clients_shard_there_may_be_the_initial_model() -> None:
    done("--clients", 3, "--init_model", "tabular_cnn", "--saved_dir", "whole", "--no-picture")
    done("--clients", 3, "--init_model", "tabular_cnn", "--only", "client-2")
    assert digests("shards")["initial.safetensors"] == digests("whole")["initial.safetensors"]


def test_a_task_of_the_users_own_is_handed_the_shard_of_the_first_client() -> None:
    Path("own.py").write_text(OWN_TASK)
    done("--init_model", "own.py:Mean", "--only", "client-1", "--only", "client-0")
    assert TensorFile(Path("shards/initial.safetensors")).array("mean").tolist() == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--clients", 3, "--only", "client-3"),
            "--only 'client-3' is none of the clients client-0 ... client-2; name",
        ),
        (("--only", "ward-7"), "--only 'ward-7' is none of the clients client-0 ... client-9; name one of them"),
        (("--only", "client-01"), "--only 'client-01' is none of the clients"),
        (("--only", "client-1", "--no-shards"), "--only and --no-shards are both given; leave one of them"),
        (("--no-shards",), "--no-shards leaves nothing to make; say by --init-model which model"),
        (("--no-shards", "--init_model", "own.py:Mean"), "the task own.py:Mean is handed the shard of client-0"),
        (("--only", "client-1", "--init_model", "own.py:Mean"), "it is not made; give --only client-0"),
        (("--no-shards", "--init_model", "none.safetensors"), "the model none.safetensors cannot be read"),
        (("--inventory", "own.py", "--only", "client-0"), "--inventory sends every client's shard, and --only leaves"),
        (("--inventory", "own.py", "--no-shards"), "--inventory sends every client's shard, and --no-shards leaves"),
        (
            ("--no-shards", "--init_model", "tabular_cnn", "--saved_dir", "/proc/none"),
            "the initial model cannot be written to /proc/none/initial.safetensors (No such file or directory)",
        ),
        (("--only", "client-0", "--saved_dir", "/proc/none"), "the shards cannot all be written to /proc/none"),
    ],
)
def test_what_cannot_be_gets_one_sentence(arguments: tuple[str | int, ...], sentence: str) -> None:
    Path("own.py").write_text(OWN_TASK)
    assert sentence in refused(*arguments)
    assert not Path("shards").exists()


def test_the_initial_model_alone_can_be_published(
    s3_environment: Mapping[str, str], bucket: str, bucket_key: str
) -> None:
    place = ("--bucket_name", bucket, "--bucket_key", bucket_key)
    done("--no-shards", *place)
    [published] = RoundStore(bucket, bucket_key).history()
    assert published.manifest.model.sha256 == digests("shards")["initial.safetensors"]
    assert list(digests("shards")) == ["initial.safetensors"]


def without_libraries_of_others(*arguments: str) -> subprocess.CompletedProcess[str]:
    absent = f"import sys; sys.modules.update(dict.fromkeys({LIBRARIES_OF_OTHERS}))"
    script = f"{absent}; from fedtier_cli.main import main; main()"
    command = [sys.executable, "-c", script, "split", "--dataset", "tabular", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments", [["--only", "client-0"], ["--no-shards", "--init_model", "tabular_cnn"], ["--no-picture"]]
)
def test_an_installation_for_clients_can_split(arguments: list[str]) -> None:
    ended = without_libraries_of_others(*arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert list(Path("shards").iterdir())


def test_where_the_library_of_s3_is_missing_publishing_is_refused_before_anything_is_split() -> None:
    ended = without_libraries_of_others("--bucket_name", "bucket", "--bucket_key", "key.safetensors")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Error: --bucket_name needs the package boto")
    assert "pip install 'fedtier[server]' brings it" in ended.stderr
    assert not Path("shards").exists()
