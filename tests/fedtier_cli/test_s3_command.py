from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from fedtier.bucket import Bucket, connect
from fedtier_cli.credentials import read_s3_credentials
from fedtier_cli.main import main
from fedtier_cli.seaweed import free_ports


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    CliRunner().invoke(main, ["credentials", str(tmp_path / "secrets")])
    return tmp_path / "secrets" / "s3.json"


@contextmanager
def running(folder: Path, credentials: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    flags = {"--bucket-name": "models", "--state-dir": folder, "--credentials": credentials, "--port": port}
    words = [str(word) for pair in flags.items() for word in pair]
    call = [sys.executable, "-m", "fedtier_cli.main", "s3", *words, "--host", "127.0.1.2", "--json"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def bucket(url: str, credentials: Path) -> Bucket:
    pair = read_s3_credentials(credentials)
    client = connect(endpoint=url, access_key=pair.access_key, secret_key=pair.secret_key, region="any")
    return Bucket("models", client=client)


@pytest.mark.system
def test_it_serves_one_bucket_to_one_key_and_keeps_it_from_one_start_to_the_next(
    tmp_path: Path, credentials: Path
) -> None:
    [port] = free_ports(1)
    with running(tmp_path / "s3", credentials, port) as (process, url):
        assert url == f"http://127.0.1.2:{port}"
        bucket(url, credentials).put("one", b"content", expected=None)
        assert requests.get(f"{url}/models/one", timeout=10).status_code == 403
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    with running(tmp_path / "s3", credentials, port) as (_, url):
        stored = bucket(url, credentials).get("one")
        assert stored is not None
        assert stored.data == b"content"


def test_an_address_that_others_reach_is_refused(tmp_path: Path, credentials: Path) -> None:
    flags = ["--bucket-name", "models", "--state-dir", str(tmp_path / "s3"), "--credentials", str(credentials)]
    done = CliRunner().invoke(main, ["s3", *flags, "--host", "0.0.0.0"])
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "not a loopback address" in done.output


def test_a_file_without_credentials_is_named(tmp_path: Path) -> None:
    flags = ["--bucket-name", "models", "--state-dir", str(tmp_path / "s3"), "--credentials", str(tmp_path / "none")]
    done = CliRunner().invoke(main, ["s3", *flags])
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert str(tmp_path / "none") in done.output
