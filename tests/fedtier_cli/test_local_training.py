from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from client.datasets.mnist import load_mnist, public_sources
from fedtier.rounds import ClientSettings
from fedtier.upstream import Upstream
from fedtier_cli.main import main
from fedtier_cli.rundir import Federation
from tests.fedtier_cli.runs import (
    CLIENTS,
    FEWEST,
    FOR_EVER,
    LABEL,
    TASK,
    Fact,
    await_end,
    call,
    environment,
    facts_of,
    fedtier,
    running,
    sessions_alive,
    tiny_flags,
    write_points,
)

pytestmark = pytest.mark.system

CHECKOUT = Path(__file__).parents[2]
ROUNDS = 2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_points(tmp_path / "points")


@dataclass(frozen=True)
class Interrupted:
    """What a Ctrl-C left of a run that was in the middle of a round."""

    home: Path
    published: list[Fact]
    status: int
    processes: dict[str, int]
    before: int
    left: list[str]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    home = tmp_path_factory.mktemp("home")
    with running(home, "train", *tiny_flags(write_points(home / "points"), rounds=FOR_EVER)) as run:
        published = [run.await_fact("published", round=number) for number in range(1, ROUNDS + 1)]
        before = len(sessions_alive(list(run.pids.values())))
        run.process.send_signal(signal.SIGINT)
        status = run.end()
        return Interrupted(home, published, status, run.pids, before, sessions_alive(list(run.pids.values())))


def test_ctrl_c_ends_every_process(interrupted: Interrupted) -> None:
    names = {"s3", "master", "worker-0", "worker-1", "client-0", "client-1", "client-2", "evaluate"}
    assert set(interrupted.processes) == names
    assert interrupted.before >= len(names)
    assert interrupted.left == []
    assert interrupted.status == 130


def test_an_interrupted_run_goes_on_where_it_was_until_sigterm_ends_it(interrupted: Interrupted) -> None:
    flags = tiny_flags(interrupted.home / "points", rounds=FOR_EVER)
    with running(interrupted.home, "train", *flags, *FEWEST) as run:
        assert run.await_fact("published")["round"] > ROUNDS
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == 143
        assert sessions_alive(list(run.pids.values())) == []


def test_a_round_opened_for_more_clients_is_not_waited_for(interrupted: Interrupted) -> None:
    flags = tiny_flags(interrupted.home / "points", rounds=FOR_EVER, clients=2)
    result = call(interrupted.home, "train", *flags, *FEWEST)
    assert result.returncode == 1
    assert f"closes at {CLIENTS} clients, more than the 2 there are; call with --clients {CLIENTS}" in result.stderr


@pytest.fixture(scope="module")
def untested(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a run printed that trains as the others do, without tests, in as few processes as can be, and badly told."""
    home = tmp_path_factory.mktemp("home")
    (home / "client").mkdir()
    (home / "client" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    settings = {
        "FEDTIER_PORT": "1",
        "FEDTIER_DEADLINE": "0.001",
        "FEDTIER_VERIFY_KEYS": "none",
        "AWS_PROFILE": "not-there",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    flags = tiny_flags(write_points(home / "points"), rounds=ROUNDS, task=TASK.replace(":Line", ":Untested"))
    result = call(home, "train", *flags, *FEWEST, "--json", **settings)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_callers_settings_and_folders_do_not_reach_the_tiers(untested: str) -> None:
    assert [fact["clients"] for fact in facts_of(untested, "published")] == [CLIENTS] * ROUNDS


def test_a_task_that_cannot_evaluate_is_trained_and_not_tested(untested: str) -> None:
    notes = [fact["detail"] for fact in facts_of(untested, "note")]
    assert any("has no method evaluate, so its models are not tested" in note for note in notes)
    assert facts_of(untested, "score") == facts_of(untested, "tested") == []


def test_the_model_does_not_depend_on_the_number_of_workers_or_processes(
    interrupted: Interrupted, untested: str
) -> None:
    digests = [fact["sha256"] for fact in facts_of(untested, "published")]
    assert digests == [fact["sha256"] for fact in interrupted.published]
    assert len(set(digests)) == ROUNDS


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("clients-0", "clients-0 with client-0, client-1, client-2 ended by SIGKILL"),
        ("worker-0", "worker-0 ended by SIGKILL"),
        ("master", "master ended by SIGKILL"),
        ("s3", "s3 "),
    ],
)
def test_a_process_that_dies_ends_the_run_by_name(tmp_path: Path, data: Path, name: str, shown: str) -> None:
    with running(tmp_path, "train", *tiny_flags(data, rounds=FOR_EVER), *FEWEST) as run:
        run.await_fact("published", round=1)
        os.kill(run.pids[name], signal.SIGKILL)
        error = run.error()
        assert run.process.returncode == 1
        assert error.startswith(f"Error: {shown}")
        assert f"logs/{name}.log" in error
        assert sessions_alive(list(run.pids.values())) == []


@pytest.mark.parametrize(
    ("processes", "begins"),
    [
        (CLIENTS, "Error: client-1 ended with status 1; its log "),
        (1, "Error: clients-0 plays client-1, which stopped: "),
    ],
)
def test_a_client_that_fails_ends_the_run_also_when_its_process_goes_on(
    tmp_path: Path, data: Path, processes: int, begins: str
) -> None:
    (data / "client-1.csv").write_text("1,nan\n")
    result = call(tmp_path, "train", *tiny_flags(data, rounds=1), "--workers", 1, "--processes", processes)
    assert result.returncode == 1
    assert result.stderr.startswith(begins)
    assert "'line'" in result.stderr


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux: elsewhere nothing ends with its parent")
def test_nothing_outlives_a_launcher_that_is_killed(tmp_path: Path, data: Path) -> None:
    with running(tmp_path, "train", *tiny_flags(data, rounds=FOR_EVER), *FEWEST) as run:
        run.await_fact("published", round=1)
        run.process.kill()
        run.process.wait()
        assert await_end(list(run.pids.values()))
        assert sessions_alive(list(run.pids.values())) == []


def test_two_runs_side_by_side_have_folders_of_their_own(tmp_path: Path, data: Path) -> None:
    task, named = TASK.replace(":Line", ":Resting"), LABEL.replace(".Line", ".Resting")
    with running(tmp_path, "train", *tiny_flags(data, rounds=FOR_EVER, task=task), *FEWEST) as run:
        first = run.await_fact("published", round=1)

        beside = call(tmp_path, "train", *tiny_flags(data, rounds=1, task=task), *FEWEST, "--seed", 7, "--json")
        assert beside.returncode == 0, beside.stderr
        note = facts_of(beside.stdout, "note")[0]["detail"]
        assert f"runs/{named} is in use by a running federation; this run takes " in note
        assert (tmp_path / "runs" / f"{named}-2" / "evaluation.csv").exists()
        assert facts_of(beside.stdout, "published")[0]["sha256"] != first["sha256"]
        assert facts_of(beside.stdout, "finished")[0]["go_on"].endswith(f" --run-dir runs/{named}-2 --round 3")

        into_it = call(tmp_path, "train", *tiny_flags(data, rounds=2, task=task), "--run-dir", f"runs/{named}")
        assert into_it.returncode == 1
        assert f"in use by a running federation (process {run.process.pid}); end it" in into_it.stderr

        tested = call(tmp_path, "evaluate", "--run-dir", f"runs/{named}", "--maxlen", 1, "--json")
        assert [fact["round"] for fact in facts_of(tested.stdout, "score")] == [0, 1], tested.stderr
        assert run.process.poll() is None


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of one's own, and an environment that the command under test may change."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment(tmp_path))
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--threshold", "0"], "0 is not in the range"),
        (["--threshold", "11"], "--threshold 11 is more than the 10 clients there are"),
        (["--threshold", "6", "--fraction", "0.5"], "--threshold 6 is more than the 5 clients that a round selects"),
        (["--fraction", "1.5"], "1.5 is not in the range"),
        (["--processes", "0"], "0 is not in the range"),
        (["--target", "97"], "97.0 is not in the range"),
        (["--optimizer", "rmsprop"], "'rmsprop' is not one of 'sgd', 'adam'"),
        (["--clients", "0"], "0 is not in the range"),
        (["--model", "nowhere.py:Net"], "there is no file nowhere.py"),
        (["--model", "nothing"], "the task nothing needs its data; name the folder that holds it with --data-dir"),
        (["--model", "nothing", "--data-dir", "."], "'nothing' is neither built in (cifar_cnn, mnist_2nn, "),
        (["--data-dir", "nowhere"], "nowhere is no folder; name the folder that holds the data"),
        (["--data-dir", "."], "MNIST cannot be had"),
        (["--model", TASK, "--data-dir", "points"], "but not for client-3; add it, or choose fewer --clients"),
        (["--run-dir", "points"], "holds other files; name an empty or a new --run-dir"),
        (["--run-dir", "points/test.csv"], "points/test.csv cannot be used"),
    ],
)
def test_a_flag_that_cannot_be_is_one_sentence(place: Path, flags: list[str], sentence: str) -> None:
    write_points(place / "points")
    result = CliRunner().invoke(main, ["train", *flags])
    assert result.exit_code != 0
    assert sentence in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_a_run_directory_of_another_task_is_refused(place: Path) -> None:
    record = Federation(task="own.py:Task", bucket="b", bucket_key="k", test_data="t")
    (place / "lock").touch()
    (place / "federation.json").write_bytes(record.to_json())
    result = CliRunner().invoke(main, ["train", "--run-dir", "."])
    assert result.exit_code == 1
    assert "belongs to the task own.py:Task, not mnist_cnn; choose another --run-dir" in result.stderr


def test_clients_join_a_federation_that_is_up_by_the_line_it_prints(tmp_path: Path, data: Path) -> None:
    flags = ["--task", TASK, "--clients", "2", "--fraction", "1", "--threshold", "1", "--data-dir", str(data)]
    told = ClientSettings(
        epochs=2, batch_size=7, lr=0.02, optimizer="adam", momentum=0.1, weight_decay=0.001, prox_mu=0.01
    )
    flags += ["--epoch", "2", "--batch-size", "7", "--lr", "0.02", "--optimizer", "adam", "--momentum", "0.1"]
    flags += ["--weight-decay", "0.001", "--prox-mu", "0.01", "--workers", "1", "--run-dir", "up", "--port", "0"]
    with running(tmp_path, "up", *flags) as servers:
        serving = servers.await_fact("serving")
        operator = (tmp_path / "up" / "tokens" / "operator").read_text().strip()
        with Upstream(serving["master"], token=lambda: operator) as upstream:
            status = upstream.round_status()
        assert status.client == told
        assert (status.cohort, status.threshold) == (("client-0", "client-1"), 1)

        variable, *join = serving["a_client_joins_by"].split()
        assert join[:3] == ["fedtier", "client", "--server"]
        token = dict([variable.split("=")])
        del join[:2]
        join[join.index("YOUR_DATA")] = str(data / "client-0.csv")
        federation = Federation.from_json((tmp_path / "up" / "federation.json").read_bytes())
        assert federation.master == serving["master"]
        assert serving["TensorBoard"] == "tensorboard --logdir up/state/master/tensorboard"
        assert serving["graphs"] == "fedtier graph --run-dir up"
        stranger = call(tmp_path, "client", *join, "--rounds", "2")
        assert stranger.returncode == 1
        assert "this server asks for a token" in stranger.stderr
        client = call(tmp_path, "client", *join, "--rounds", "2", **token)
        assert client.returncode == 0, client.stderr
        _assert_operated_by_run_directory(tmp_path)
        _assert_another_client_gets_a_token(tmp_path, serving["to_sign_a_token"])
        seen = json.dumps(serving) + "".join(sessions_alive(list(servers.pids.values())))
        for path in (tmp_path / "up" / "tokens").iterdir():
            assert path.read_text().strip() not in seen

        servers.process.send_signal(signal.SIGINT)
        assert servers.end() == 0
        assert sessions_alive(list(servers.pids.values())) == []
    identities = json.loads((tmp_path / "up" / "s3" / "s3-identities.json").read_text())
    assert identities["identities"][0]["credentials"][0]["secretKey"] not in json.dumps(serving)


def _assert_operated_by_run_directory(home: Path) -> None:
    for command in ("pause", "resume", "status"):
        result = call(home, command, "--run-dir", "up")
        assert result.returncode == 0, result.stderr


def _assert_another_client_gets_a_token(home: Path, line: str) -> None:
    variable, program, *sign = line.split()
    assert program == "fedtier"
    result = call(home, *sign, **dict([variable.split("=")]))
    assert result.returncode == 0, result.stderr
    assert (home / "up" / "tokens" / "client-2").stat().st_mode & 0o777 == 0o600


@pytest.mark.timeout(900)
def test_mnist_reaches_97_percent_in_three_rounds(tmp_path: Path) -> None:
    cache = CHECKOUT / ".fedtier" / "data"
    load_mnist(cache=cache, sources=public_sources(os.environ))
    result = subprocess.run(
        fedtier("train", "--round", 3, "--epoch", 1, "--processes", 2, "--data-dir", cache),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    table = [line.split() for line in result.stdout.splitlines()]
    rows = {int(row[0]): row for row in table if len(row) >= 6 and row[0].isdecimal()}
    assert sorted(rows) == [0, 1, 2, 3]
    assert float(rows[3][2].removesuffix("%")) >= 97
    assert rows[3][3:5] == ["10", "60000"]
    scores = np.genfromtxt(tmp_path / "runs" / "mnist_cnn" / "evaluation.csv", delimiter=",", names=True, dtype=None)
    assert f"{scores['accuracy'][3]:.2%}" == rows[3][2]
