"""What cannot be ends a program at its start: one sentence, no traceback, no process left."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.s3_servers import S3Server
from tests.system.federation import PATIENCE, Federation, environment, fedtier
from tests.system.updates import TenUpdates, safetensors, tensor

pytestmark = pytest.mark.system


@dataclass(frozen=True)
class Refusal:
    """How a program ended."""

    status: int
    output: str
    sentence: str


class Programs:
    """Starts programs that are to end by themselves."""

    def __init__(self, folder: Path, s3: S3Server, bucket_key: str, model: Path) -> None:
        self._folder = folder
        self._s3 = s3
        self._place = ("--bucket-name", s3.bucket, "--bucket-key", bucket_key)
        self._model = ("--web-model", str(model))

    def master(self, *flags: str, variables: Mapping[str, str] | None = None) -> Refusal:
        """Start a master that would run, were it not for these flags; of two equal flags the last one counts."""
        rest = ("--threshold", "2", "--state-dir", str(self._folder / "master"), "--port", "0")
        return self.refused("master", *self._place, *self._model, *rest, *flags, variables=variables)

    def worker(self, *flags: str, variables: Mapping[str, str] | None = None) -> Refusal:
        rest = ("--master", "http://127.0.0.1:9", "--state-dir", str(self._folder / "worker"), "--port", "0")
        return self.refused("worker", *rest, *flags, variables=variables)

    def client(self, *flags: str) -> Refusal:
        usual = {"--server": "http://127.0.0.1:9", "--client-id": "client-0", "--data": str(self._folder / "shard")}
        rest = [word for flag, value in usual.items() if flag not in flags for word in (flag, value)]
        return self.refused("client", *rest, "--wait", "0", *flags)

    def refused(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Refusal:
        """Run a program, and check how it says no."""
        process = subprocess.Popen(
            fedtier(*arguments),
            cwd=self._folder,
            env=environment(self._s3, variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                output, errors = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        sentences = [line for line in errors.splitlines() if line.startswith("Error: ")]
        assert process.returncode not in {0, None}, errors
        assert "Traceback" not in errors, errors
        assert len(sentences) == 1, errors
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
        return Refusal(process.returncode, output, sentences[0])


@pytest.fixture
def programs(tmp_path: Path, s3_server: S3Server, bucket_key: str, ten_updates: TenUpdates) -> Programs:
    return Programs(tmp_path, s3_server, bucket_key, ten_updates.model)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--threshold", "0"], "--threshold"),
        (["--rounds", "-1"], "--rounds"),
        (["--deadline", "nan"], "--deadline"),
        (["--host", "0.0.0.0"], "FEDTIER_VERIFY_KEYS"),
        (["--bucket-name", "no-such-bucket"], "no-such-bucket"),
        (["--bucket-key", "without-extension"], "without-extension"),
        (["--web-model", "/nowhere/model.safetensors"], "/nowhere/model.safetensors"),
        (["--state-dir", "/proc/nowhere"], "/proc/nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_master_refuses(flags: list[str], named: str, programs: Programs) -> None:
    assert named in programs.master(*flags).sentence


def test_a_master_refuses_a_model_that_is_no_safetensors_file(programs: Programs, tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    model.write_bytes(b"PK\x03\x04 a zip file, as torch.save writes them")
    sentence = programs.master("--web-model", str(model)).sentence
    assert str(model) in sentence
    assert "safetensors" in sentence


def test_a_master_refuses_a_model_that_no_round_could_sum(programs: Programs, tmp_path: Path) -> None:
    model = tmp_path / "counters.safetensors"
    model.write_bytes(safetensors({"counter": tensor("I64", (1,), [2**40])}))
    sentence = programs.master("--web-model", str(model)).sentence
    assert str(model) in sentence
    assert "counter" in sentence
    assert str(2**40) in sentence


def test_a_master_refuses_to_start_without_s3(programs: Programs) -> None:
    nobody = "http://127.0.0.1:9"
    assert nobody in programs.master(variables={"AWS_ENDPOINT_URL_S3": nobody}).sentence


def test_a_master_refuses_wrong_credentials(programs: Programs) -> None:
    assert "AWS_SECRET_ACCESS_KEY" in programs.master(variables={"AWS_SECRET_ACCESS_KEY": "wrong"}).sentence


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--batch-max", "0"], "--batch-max"),
        (["--batch-age", "-1"], "--batch-age"),
        (["--master", "127.0.0.1:5000"], "127.0.0.1:5000"),
        (["--host", "0.0.0.0"], "FEDTIER_VERIFY_KEYS"),
        (["--host", "192.0.2.1"], "192.0.2.1"),
        (["--threads", "8"], "--threads"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_worker_refuses(flags: list[str], named: str, programs: Programs) -> None:
    assert named in programs.worker(*flags).sentence


@pytest.mark.parametrize("program", ["master", "worker"])
def test_a_port_in_use_is_refused(program: str, programs: Programs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        start = programs.master if program == "master" else programs.worker
        assert f"127.0.0.1:{port}" in start("--port", port).sentence


def test_a_state_directory_serves_one_process(
    programs: Programs, federation: Federation, ten_updates: TenUpdates
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "2")
    worker = federation.worker("worker", "--share-port", upstream=master.url)

    second_master = programs.master("--state-dir", str(master.state_dir), "--bucket-key", federation.bucket_key)
    same_port = ("--host", worker.host, "--port", str(worker.port), "--share-port")
    second_worker = programs.worker("--state-dir", str(worker.state_dir), *same_port)

    for refusal, aggregator in ((second_master, master), (second_worker, worker)):
        assert str(aggregator.state_dir) in refusal.sentence
        assert "in use" in refusal.sentence
        assert "listening" not in refusal.output
        assert aggregator.get("/readyz").status_code == 200


def test_an_aggregator_is_one_process_whatever_the_environment_asks_of_gunicorn(
    federation: Federation, ten_updates: TenUpdates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers 2")
    master = federation.master(ten_updates.model, "--threshold", "2")
    assert Path(f"/proc/{master.serving_pid}").exists()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--data", "/nowhere/shard-3"], "/nowhere/shard-3"),
        (["--epoch", "0"], "--epoch"),
        (["--server", "127.0.0.1:5001"], "127.0.0.1:5001"),
        (["--client-id", "../etc"], "../etc"),
        (["--task", "no_such_task"], "no_such_task"),
        (["--task", "nowhere.py:Task"], "nowhere.py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_client_refuses(flags: list[str], named: str, programs: Programs) -> None:
    assert named in programs.client(*flags).sentence


def test_a_client_gives_up_when_no_server_is_there(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "shard").write_text("1\n")
    task = f"{Path(__file__).parents[1] / 'client' / 'numpy_task.py'}:ColumnMean"
    assert "http://127.0.0.1:9" in programs.client("--task", task).sentence
