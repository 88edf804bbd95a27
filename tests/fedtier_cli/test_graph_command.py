from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedtier.store import RoundStore
from tests.fedtier_cli.federations import call, json_lines, place_of
from tests.fedtier_cli.histories import publish, training
from tests.fedtier_cli.runs import environment
from tests.masters import store_of
from tests.s3_servers import S3Server

pytestmark = pytest.mark.usefixtures("s3_environment")
ROUNDS = training(12, 6, apart=(5,), test_every=2)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def store(s3_server: S3Server) -> RoundStore:
    """Six published rounds of twelve devices, every second one evaluated; tests leave them as they are."""
    store = store_of(s3_server)
    publish(store, ROUNDS)
    return store


@pytest.fixture
def place(s3_server: S3Server, store: RoundStore) -> list[str]:
    return place_of(s3_server, store)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDTIER_HOME", str(tmp_path))
    return tmp_path


def test_the_picture_lies_here_unless_it_is_told_otherwise(place: list[str], home: Path) -> None:
    result = call("graph", *place)
    assert (result.exit_code, result.stdout) == (0, "written to loss-accuracy.png\n")
    assert (home / "loss-accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_a_file_goes_where_it_is_told(place: list[str], home: Path) -> None:
    result = call("graph", *place, "--show_loss", "--show_acc", "--out", home / "a.svg")
    assert result.stdout == f"written to {home / 'a.svg'}\n"
    svg = (home / "a.svg").read_text()
    assert ">loss</text>" in svg
    assert ">accuracy</text>" in svg
    assert ">client-5</text>" in svg


@pytest.mark.parametrize(
    ("flag", "there", "away"), [("--show-loss", "loss", "accuracy"), ("--show_acc", "accuracy", "loss")]
)
def test_one_flag_draws_that_alone(place: list[str], home: Path, flag: str, there: str, away: str) -> None:
    assert call("graph", *place, flag, "--out", home / "a.svg").exit_code == 0
    svg = (home / "a.svg").read_text()
    assert f">{there}</text>" in svg
    assert f">{away}</text>" not in svg


def test_rounds_after_the_last_one_wanted_are_not_drawn(place: list[str], home: Path) -> None:
    facts = json_lines(call("graph", *place, "--maxlen", 4, "--json"))
    assert [fact["round"] for fact in facts if fact["event"] == "round"] == [0, 1, 2, 3, 4]


def test_programs_get_the_series_themselves(place: list[str], home: Path) -> None:
    facts = json_lines(call("graph", *place, "--json"))
    rounds = [fact for fact in facts if fact["event"] == "round"]
    for fact, made in zip(rounds, ROUNDS, strict=True):
        parts = {one.client_id: one.metrics["loss"] for one in made.contributors}
        assert fact["loss"]["devices"] == parts
        assert fact["loss"]["test"] == (None if made.evaluation is None else made.evaluation.metrics["loss"])
    total = sum(one.num_examples for one in ROUNDS[1].contributors)
    mean = sum(one.num_examples * one.metrics["accuracy"] for one in ROUNDS[1].contributors) / total
    assert rounds[1]["accuracy"]["mean"] == pytest.approx(mean)
    assert rounds[0]["loss"]["mean"] is None
    assert facts[-2]["event"] == "outliers"
    assert facts[-2]["loss"][0] == "client-5"
    assert facts[-1] == {"event": "written", "path": "loss-accuracy.png"}


def test_the_python_file_at_the_root_is_the_command(place: list[str], home: Path, s3_server: S3Server) -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "showgraph.py", "--show_loss", "--show_acc", *place, "--json"],
        cwd=home,
        env=environment(home, **s3_server.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout.splitlines()[-1])["event"] == "written"
    assert (home / "loss-accuracy.png").is_file()


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("a.pdf", "has the suffix '.pdf'; name it .png or .svg by --out"),
        ("nowhere/a.png", "the folder nowhere for the picture does not exist"),
    ],
)
def test_a_picture_that_cannot_be_is_one_sentence_before_s3_is_read(home: Path, out: str, sentence: str) -> None:
    result = call("graph", "--bucket-name", "none", "--bucket-key", "no/such.safetensors", "--out", out)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert list(home.iterdir()) == []


def test_where_nothing_is_published_that_is_the_sentence(bucket: str, bucket_key: str, home: Path) -> None:
    result = call("graph", "--bucket-name", bucket, "--bucket-key", bucket_key)
    assert result.exit_code == 1
    assert "nothing is published at" in result.stderr
    assert list(home.iterdir()) == []


def test_where_matplotlib_is_missing_the_sentence_says_what_to_install(
    place: list[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = call("graph", *place)
    assert result.exit_code == 1
    assert "pip install 'fedtier[view]'" in result.stderr
