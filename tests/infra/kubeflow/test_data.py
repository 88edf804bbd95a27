from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from client.datasets.mnist import MIRRORS_VARIABLE, public_sources
from client.datasets.sources import Mirror
from client.task import BUILT_IN
from fedtier.problems import StartupError
from infra.kubeflow.steps.data import Shards, mirrors, prepare
from infra.kubeflow.steps.programs import ProgramFailed
from infra.kubeflow.steps.workspace import Workspace
from tests.fedtier_cli import runs
from tests.infra.programs import CHECKOUT

SAMPLES = CHECKOUT / "client" / "datasets" / "samples"


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder's files while the block lasts; yield their address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Silent, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}


def test_tables_are_downloaded_labelled_merged_and_split_as_fedtier_splits_them(tmp_path: Path) -> None:
    workspace, here = Workspace(tmp_path / "workspace"), tmp_path / "here"
    workspace.root.mkdir()
    files = ["class-0.csv", "class-1.csv"]
    with served(SAMPLES) as address:
        shards = prepare(workspace, task="tabular_cnn", clients=3, urls=[f"{address}/{name}" for name in files], seed=4)

    rows = [flag for name in files for flag in ("--rows", str(SAMPLES / name))]
    how = ["--dataset", "tabular", "--clients", "3", "--seed", "4", "--init-model", "tabular_cnn", *rows]
    assert runs.call(tmp_path, "split", *how, "--saved-dir", here).returncode == 0
    assert shards.clients == ("client-0", "client-1", "client-2")
    assert digests(workspace.shards) == digests(here)
    made = {*(workspace.shard(name) for name in shards.clients), workspace.test_shard, workspace.initial_model}
    assert made == set(workspace.shards.glob("*.safetensors"))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Shards]:
    """A workspace with the samples, split between two clients."""
    workspace = Workspace(tmp_path_factory.mktemp("samples"))
    return workspace, prepare(workspace, task="tabular_cnn", clients=2, urls=[], seed=0)


def test_a_second_try_changes_nothing(samples: tuple[Workspace, Shards]) -> None:
    workspace, first = samples
    made = digests(workspace.shards)

    again = prepare(workspace, task="tabular_cnn", clients=2, urls=[], seed=0)

    assert (again, digests(workspace.shards)) == (first, made)


def test_the_page_tells_how_many_examples_of_each_label_everybody_has(samples: tuple[Workspace, Shards]) -> None:
    page = samples[1].page

    assert "tables among 2 clients" in page
    for name in ("client-0", "client-1", "test"):
        assert f"<tr><th>{name}</th>" in page
    assert '<img alt="How many examples of each label: tables among 2 clients" src="data:image/png;base64,' in page


@pytest.mark.parametrize("task", ["cifar_cnn", "no_task", "my_task.py:Net"])
def test_a_task_whose_data_cannot_be_fetched_is_refused_with_those_that_can(task: str, tmp_path: Path) -> None:
    able = [name for name in BUILT_IN if name != "cifar_cnn"]

    with pytest.raises(StartupError, match=f"the task '{task}' is none .* choose one of {', '.join(able)}"):
        prepare(Workspace(tmp_path), task=task, clients=2, urls=[], seed=0)
    assert not list(tmp_path.iterdir())


def test_an_address_with_nothing_behind_it_is_named(tmp_path: Path) -> None:
    with served(tmp_path) as address:
        urls = [f"{address}/class-0.csv", f"{address}/class-1.csv"]

        with pytest.raises(ProgramFailed, match=rf"(?s)fedtier split ended with status 1.*{address}/class-0.csv"):
            prepare(Workspace(tmp_path), task="tabular_cnn", clients=2, urls=urls, seed=0)


def test_what_is_secret_in_an_address_is_not_told_even_with_a_space_before_it(tmp_path: Path) -> None:
    urls = [" http://somebody:pass,word@127.0.0.1:9/0.csv?key=signed ", "http://127.0.0.1:9/1.csv"]

    with pytest.raises(ProgramFailed, match=r"http://127.0.0.1:9/0.csv cannot be fetched") as failed:
        prepare(Workspace(tmp_path), task="tabular_cnn", clients=2, urls=urls, seed=0)
    assert not [secret for secret in ("somebody", "pass", "word", "signed") if secret in str(failed.value)]


@pytest.mark.parametrize("task", ["tabular_cnn", "mnist_cnn"])
def test_an_empty_address_is_refused(task: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="DATA_URLS has an empty address at place 2"):
        prepare(Workspace(tmp_path), task=task, clients=2, urls=["http://127.0.0.1:9/0.csv", " "], seed=0)


def test_a_mirror_with_a_comma_in_its_address_is_one_mirror() -> None:
    sources = public_sources({MIRRORS_VARIABLE: mirrors(["https://a:b,c@one.example/mnist", "https://two.example"])})

    found = [source.url for source in sources if isinstance(source, Mirror)]
    assert found == ["https://a:b%2Cc@one.example/mnist", "https://two.example"]
