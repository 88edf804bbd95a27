from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedtier.tensors import TensorFile
from fedtier_cli.rundir import RunDirectory
from fedtier_cli.tiers import EmbeddedStore, embedded_store
from tests.fedtier_cli.runs import TASK, call, facts_of, train_tiny, write_points
from tests.fedtier_cli.test_seaweed import bucket_of

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a run of three rounds in it; tests leave the run as it is."""
    home = tmp_path_factory.mktemp("home")
    train_tiny(home, write_points(home / "points"), "--run-dir", "run", rounds=3)
    return home


@pytest.fixture
def store(trained: Path) -> Iterator[EmbeddedStore]:
    run = RunDirectory(trained / "run")
    federation = run.read_federation()
    assert federation is not None
    with embedded_store(run, federation) as running:
        yield running


def test_it_prints_what_numpy_says(trained: Path, store: EmbeddedStore, tmp_path: Path) -> None:
    x, y = np.loadtxt(trained / "points" / "test.csv", delimiter=",", dtype=np.float32).T
    expected = {}
    for published in store.rounds.history():
        path = tmp_path / f"{published.round}.safetensors"
        store.rounds.download_model(published.round, published.manifest.model.sha256, path)
        slope, offset = TensorFile(path).array("line")
        error = slope * x + offset - y
        expected[published.round] = (np.square(error).mean(), (np.abs(error) < 1).mean(), path)

    flags: list[str | Path] = ["--bucket_name", store.server.bucket, "--bucket_key", store.rounds.keys.copy]
    data = trained / "points" / "test.csv"
    flags += ["--task", TASK, "--data", data, "--csv", tmp_path / "t.csv", "--again"]
    result = call(trained, "evaluate", *flags, **store.server.environment())
    assert result.returncode == 0, result.stderr

    rows = list(csv.DictReader((tmp_path / "t.csv").open(newline="")))
    assert [int(row["round"]) for row in rows] == [0, 1, 2, 3]
    for row in rows:
        loss, accuracy, _ = expected[int(row["round"])]
        assert float(row["loss"]) == pytest.approx(loss, rel=1e-6)
        assert float(row["accuracy"]) == accuracy
        assert f"{loss:.4f}" in result.stdout
        assert row["sha256"][:12] in result.stdout


def test_a_run_directory_is_enough(trained: Path) -> None:
    (trained / "run" / "evaluation.csv").unlink()
    result = call(trained, "evaluate", "--run-dir", "run", "--maxlen", 2, "--json")
    assert [fact["round"] for fact in facts_of(result.stdout, "score")] == [0, 1, 2], result.stderr
    assert len((trained / "run" / "evaluation.csv").read_text().splitlines()) == 1 + 3


def test_what_the_run_tested_itself_is_known(trained: Path) -> None:
    result = call(trained, "evaluate", "--run-dir", "run")
    assert "\n0 rounds tested, 4 known already\n" in result.stdout, result.stderr


def test_an_s3_that_runs_already_is_used(trained: Path, store: EmbeddedStore) -> None:
    result = call(trained, "evaluate", "--run-dir", "run", "--json")
    assert len(facts_of(result.stdout, "score")) == 4, result.stderr
    assert store.newest_round() == 3


def test_a_model_with_another_digest_is_named_with_both(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "run", tmp_path / "run", ignore=shutil.ignore_patterns("*.sock"))
    run = RunDirectory(tmp_path / "run")
    federation = run.read_federation()
    assert federation is not None
    with embedded_store(run, federation) as store:
        [first] = [published for published in store.rounds.history() if published.round == 1]
        sha256 = first.manifest.model.sha256
        bucket, key = bucket_of(store.server), store.rounds.keys.model(1, sha256)
        stored = bucket.get(key)
        assert stored is not None
        bucket.put(key, stored.data[:-1] + b"?", expected=stored.etag)
    result = call(tmp_path, "evaluate", "--run-dir", "run", "--again")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: the model of round 1 cannot be tested: ")
    assert f", not {sha256}" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "name the federation: --run-dir of a local run, or --bucket-name and --bucket-key"),
        (["--run-dir", "points"], "points is no run directory of fedtier train or fedtier up"),
        (["--run-dir", "run", "--task", TASK.replace("Line", "Untested")], "cannot evaluate a model"),
        (["--run-dir", "run", "--csv", "nowhere/table.csv"], "the folder nowhere for the table does not exist"),
        (["--run-dir", "run", "--data-dir", "nowhere"], "nowhere is no folder"),
        (["--run-dir", "run", "--bucket_key", "other.safetensors"], "leave --bucket-name and --bucket-key out"),
        (["--run-dir", "run", "--task", "mnist_cnn"], "points/test.csv is not a safetensors file"),
    ],
)
def test_what_cannot_be_tested_is_one_sentence(trained: Path, flags: list[str], sentence: str) -> None:
    result = call(trained, "evaluate", *flags)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
