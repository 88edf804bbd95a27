from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import fedtier.flags
from client.command import client
from fedtier.flags import FiniteRange, command, json_flag, read_text, require_address
from fedtier.problems import StartupError
from fedtier_cli.main import main
from master_aggregator.command import master
from worker_aggregator.command import worker


@command("sample")
@click.option("--batch-size", type=int, default=1)
@click.option("--lr", type=FiniteRange(min=0, min_open=True), default=0.5)
@json_flag
def sample(batch_size: int, lr: float, as_json: bool) -> None:
    """Print what it was given."""
    if batch_size == 13:
        raise StartupError("the batch size 13 brings bad luck; choose another")
    click.echo(f"{batch_size} {lr} {as_json}")


def run(*arguments: str, **variables: str) -> tuple[int, str]:
    done = CliRunner(env=variables).invoke(sample, arguments)
    return done.exit_code, done.output.strip()


@pytest.mark.parametrize("flag", ["--batch-size", "--batch_size"])
def test_hyphens_and_underscores_are_one_flag(flag: str) -> None:
    assert run(flag, "7") == (0, "7 0.5 False")


def test_every_flag_has_a_variable() -> None:
    assert run(FEDTIER_BATCH_SIZE="7", FEDTIER_LR="0.25", FEDTIER_JSON="1") == (0, "7 0.25 True")


def test_the_flag_wins_over_the_variable() -> None:
    assert run("--batch-size", "8", FEDTIER_BATCH_SIZE="7") == (0, "8 0.5 False")


def test_a_startup_error_is_one_sentence_and_status_1() -> None:
    status, output = run("--batch-size", "13")
    assert (status, output) == (1, "Error: the batch size 13 brings bad luck; choose another")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN", "1e999", "0", "-1", "x"])
def test_a_number_that_is_none_is_refused(value: str) -> None:
    status, output = run("--lr", value)
    assert status == 2
    assert "'--lr'" in output
    assert "Traceback" not in output


# The aggregators' commands: every flag by its variable, in both spellings, and what cannot be.

TLS = {
    "certfile": "/nowhere/c",
    "keyfile": "/nowhere/k",
    "ca_certs": "/nowhere/a",
    "plain_http": "1",
    "require_client_certs": "1",
}
MASTER = {
    "bucket_name": "b",
    "bucket_key": "jobs/x.safetensors",
    "state_dir": "/nowhere/s",
    "threshold": "3",
    "web_model": "m",
    "rounds": "5",
    "min_clients": "2",
    "deadline": "9.5",
    "clients": "10",
    "fraction": "0.5",
    "seed": "4",
    "weight_limit": "1000",
    "batch_max": "7",
    "epoch": "2",
    "batch_size": "16",
    "lr": "0.1",
    "lr_decay": "0.99",
    "optimizer": "adam",
    "momentum": "0.2",
    "weight_decay": "0.001",
    "prox_mu": "0.01",
    "model_delivery": "redirect",
    "tensorboard_dir": "/nowhere/t",
    "no_tensorboard": "1",
    "exit_when_finished": "1",
    "stopped_status": "143",
    "host": "127.0.0.2",
    "revoked": "/nowhere/revoked",
    "audience": "https://example.org/federation-1",
    "port": "5999",
    "threads": "20",
    "grace": "3",
    "min_rate": "1000",
    "spool_max": "1000000",
    "metrics_host": "127.0.0.3",
    "metrics_port": "6999",
    "json": "1",
}
WORKER = {
    "master": "http://127.0.0.1:1",
    "state_dir": "/nowhere/s",
    "batch_max": "7",
    "batch_age": "0.5",
    "share_port": "1",
    "host": "127.0.0.2",
    "revoked": "/nowhere/revoked",
    "audience": "https://example.org/federation-1",
    "port": "5999",
    "threads": "20",
    "grace": "3",
    "min_rate": "1000",
    "spool_max": "1000000",
    "metrics_host": "127.0.0.3",
    "metrics_port": "6999",
    "json": "1",
}


def parsed(chosen: click.Command, arguments: list[str]) -> dict[str, Any]:
    return dict(chosen.make_context("fedtier", arguments).params)


@pytest.mark.parametrize(("chosen", "flags"), [(master, MASTER | TLS), (worker, WORKER | TLS)])
def test_flags_and_variables_of_an_aggregator_mean_the_same(
    chosen: click.Command, flags: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    switches = {*("no_tensorboard", "exit_when_finished", "share_port", "json"), "plain_http", "require_client_certs"}
    underscores = [
        part for name, value in flags.items() for part in ([f"--{name}"] if name in switches else [f"--{name}", value])
    ]
    hyphens = [part.replace("_", "-") if part.startswith("--") else part for part in underscores]
    given = parsed(chosen, underscores)
    assert given == parsed(chosen, hyphens)
    for name, value in flags.items():
        monkeypatch.setenv(f"FEDTIER_{name.upper()}", value)
    assert parsed(chosen, []) == given
    declared = {parameter.name for parameter in chosen.params}
    assert declared == given.keys(), "no flag is left out of this test"
    assert len(declared) == len(flags)


def test_min_is_min_clients() -> None:
    needed = ["--bucket_name", "b", "--bucket_key", "k", "--state-dir", "d"]
    assert parsed(master, [*needed, "--min", "4"])["min_clients"] == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", "0"),
        ("threshold", "-3"),
        ("threshold", "9" * 30),
        ("threshold", "2.5"),
        ("min_clients", "0"),
        ("deadline", "0"),
        ("deadline", "nan"),
        ("deadline", "inf"),
        ("deadline", "1e300"),
        ("clients", "0"),
        ("fraction", "1.5"),
        ("fraction", "nan"),
        ("weight_limit", "0"),
        ("weight_limit", str(1 << 60)),
        ("batch_max", "0"),
        ("epoch", "0"),
        ("epoch", "9" * 30),
        ("batch_size", "0"),
        ("lr", "inf"),
        ("lr_decay", "0"),
        ("lr_decay", "1.01"),
        ("lr_decay", "nan"),
        ("optimizer", "lion"),
        ("momentum", "1"),
        ("momentum", "nan"),
        ("weight_decay", "-0.1"),
        ("weight_decay", "inf"),
        ("prox_mu", "-1"),
        ("prox_mu", "nan"),
        ("rounds", "-1"),
        ("port", "65536"),
        ("threads", "8"),
        ("grace", "-1"),
    ],
)
def test_a_master_flag_that_cannot_be_is_named_with_its_value(name: str, value: str) -> None:
    refused(master, MASTER | {name: value}, f"--{name.replace('_', '-')}", status=2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threshold": "", "clients": ""}, "--threshold is missing"),
        ({"threshold": "6"}, "--threshold 6 is more than the 5 clients that a round selects"),
        ({"clients": ""}, "--fraction is of --clients, which is missing"),
        (
            {"threshold": "30", "clients": "", "fraction": "", "weight_limit": "29"},
            "--weight-limit 29 has no room for 30",
        ),
        ({"host": "0.0.0.0"}, "--host 0.0.0.0 is not a loopback address"),
        ({"host": "192.0.2.1"}, "FEDTIER_VERIFY_KEYS"),
        ({"host": "::"}, "--host :: is not"),
        ({"host": "example.org"}, "--host example.org is not"),
        (
            {"revoked": "/nowhere/revoked"},
            "--revoked /nowhere/revoked needs tokens, and FEDTIER_VERIFY_KEYS is not set",
        ),
        ({"bucket_key": "no-extension"}, "'no-extension'"),
    ],
)
def test_a_master_that_cannot_start_says_why_in_one_sentence(changes: dict[str, str], words: str) -> None:
    refused(master, MASTER | {"revoked": ""} | changes, words, status=1)


@pytest.mark.parametrize("address", ["127.0.0.1:5000", "ftp://127.0.0.1", "http://", "http://:80", "http://a:b", ""])
def test_a_worker_needs_the_address_of_its_master(address: str) -> None:
    refused(worker, WORKER | {"master": address}, "--master", status=1 if address else 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("audience", "a b"),
        ("audience", "a" * 129),
        ("batch_max", "0"),
        ("batch_age", "-1"),
        ("batch_age", "nan"),
        ("batch_age", "inf"),
    ],
)
def test_a_worker_flag_that_cannot_be_is_named_with_its_value(name: str, value: str) -> None:
    refused(worker, WORKER | {name: value}, f"--{name.replace('_', '-')}", status=2)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_a_worker_without_keys_stays_on_loopback(host: str) -> None:
    refused(worker, WORKER | {"host": host, "revoked": ""}, f"--host {host} is not a loopback address", status=1)


def test_a_master_does_not_ask_s3_on_another_machine_by_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT_URL_S3": "http://s3.invalid", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    refused(
        master, MASTER | {"revoked": ""}, "the S3 endpoint http://s3.invalid is plain HTTP to another machine", status=1
    )


def test_a_worker_does_not_ask_a_master_on_another_machine_by_plain_http() -> None:
    refused(worker, WORKER | {"master": "http://192.0.2.1:5000"}, "--master http://192.0.2.1:5000 is plain", status=1)


@pytest.mark.parametrize("flags", [MASTER, WORKER])
def test_verify_keys_that_are_none_are_refused(flags: dict[str, str]) -> None:
    chosen = master if flags is MASTER else worker
    refused(chosen, flags | {"verify_keys": "/nowhere/key.pem"}, "FEDTIER_VERIFY_KEYS", status=1)


def refused(chosen: click.Command, flags: dict[str, str], words: str, *, status: int) -> None:
    variables = {f"FEDTIER_{name.upper()}": value for name, value in flags.items()}
    done = CliRunner(env=variables).invoke(chosen)
    assert done.exit_code == status, done.output
    assert words in done.output
    assert "Traceback" not in done.output
    if status == 1:
        assert len(done.output.strip().splitlines()) == 1


# What is read from the environment


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_key_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupError, match="SOME_KEY is neither a PEM text nor a readable file"):
        read_text(str(path), "SOME_KEY")


CLIENT = {"server": "http://127.0.0.1:1", "client_id": "a", "data": "/nowhere/data"}


@pytest.mark.parametrize(("chosen", "flags"), [(worker, WORKER | {"revoked": ""}), (client, CLIENT)])
@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"token": "a", "token_file": "b"}, "FEDTIER_TOKEN and FEDTIER_TOKEN_FILE are both set"),
        ({"token_file": "/nowhere/token"}, "the file /nowhere/token cannot be read (No such file or directory)"),
    ],
)
def test_a_token_that_cannot_be_had_is_told_at_the_start(
    chosen: click.Command, flags: dict[str, str], places: dict[str, str], words: str
) -> None:
    refused(chosen, flags | places, words, status=1)


def test_a_client_without_a_token_of_its_own_is_named_at_the_start() -> None:
    refused(client, CLIENT | {"client_id": "a b", "data": "x:y", "token": "one two"}, "no token of a", status=1)


def test_no_flag_holds_a_token() -> None:
    for chosen in (master, worker, client):
        assert not any("token" in option for parameter in chosen.params for option in parameter.opts)


@pytest.mark.parametrize("url", ["http://127.0.0.1:5000", "https://example.org", "http://[::1]:80/base"])
def test_addresses_that_are_good(url: str) -> None:
    require_address(url, "--server", plain_http=True)


@pytest.mark.parametrize("url", ["http://192.0.2.1:5000", "http://master", "http://127.0.0.1.example.org"])
def test_plain_http_to_another_machine_has_to_be_meant(url: str) -> None:
    with pytest.raises(StartupError, match=r"--master http://.* is plain HTTP .* write https://, or give --plain-http"):
        require_address(url, "--master", plain_http=False)
    require_address(url, "--master", plain_http=True)
    require_address(url.replace("http://", "https://"), "--master", plain_http=False)
    require_address("http://127.9.9.9:5000", "--master", plain_http=False)


def test_the_console_script_and_the_module_are_the_same_command() -> None:
    inside: Callable[..., Any] | None = main.get_command(click.Context(main), "master")
    assert inside is master
    assert fedtier.flags.ENVIRONMENT_PREFIX == "FEDTIER"
