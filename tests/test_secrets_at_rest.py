"""Tokens, keys and passwords that a person gave are not shown again: not by a refusal, an option's `repr` or a flag."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import click
import pytest
from botocore.exceptions import BotoCoreError

import client
import fedtier
import fedtier_cli
import master_aggregator
import worker_aggregator
from client.options import ClientOptions
from fedtier.bucket import connect
from fedtier.flags import read_text, require_address
from fedtier.problems import StartupError, Unauthenticated
from fedtier.serving.downloads import ModelElsewhere
from fedtier.token_sources import TokenPlace
from fedtier.tokens import TokenVerifier, generate_keys
from fedtier_cli.keys import token
from fedtier_cli.main import main
from fedtier_cli.seaweed_credentials import Credentials
from worker_aggregator.app import WorkerOptions

SECRET: Final = "tH1s-1s-n0t-f0r-l0gs"
PACKAGES: Final = (fedtier, client, worker_aggregator, master_aggregator, fedtier_cli)
TELLING: Final = ("token", "secret", "password", "private_key", "signing_key", "presigned")
"""What a name holds of which the value is one."""


@pytest.mark.parametrize(
    "address",
    [
        *("http://somebody:{}@127.0.0.1:5000", "https://{}@example.org", "somebody:{}@127.0.0.1:5000"),
        *("http://somebody:a/{}@127.0.0.1:5000", "http://somebody:{}@[", "//somebody:{}@host", "ftp://a:{}@host"),
        *("http://127.0.0.1:5000?token={}", "http://127.0.0.1:5000/?token={}", "127.0.0.1:5000?token={}"),
    ],
)
def test_an_address_with_a_password_in_it_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(StartupError, match=r"--server .*write it as http://host:port") as refusal:
        require_address(address.format(SECRET), "--server", plain_http=False)
    assert SECRET not in str(refusal.value)


def test_an_address_with_a_fragment_is_none() -> None:
    with pytest.raises(StartupError, match="is no address"):
        require_address("http://127.0.0.1:5000/#top", "--server", plain_http=False)


@pytest.mark.parametrize("endpoint", ["http://somebody:{}@127.0.0.1:9", "http://{}@host/s3", "http://a:b/{}@host"])
def test_an_s3_endpoint_with_a_password_in_it_is_refused_and_not_repeated(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint.format(SECRET))
    with pytest.raises(StartupError, match="AWS_") as refusal:
        connect(access_key="key", secret_key="secret", region="us-east-1")
    assert SECRET not in str(refusal.value)
    assert not isinstance(refusal.value.__cause__, BotoCoreError)


def test_a_signing_key_that_is_none_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    private, _ = generate_keys()
    body = private.decode().splitlines()[1]
    monkeypatch.setenv("FEDTIER_SIGNING_KEY", body)  # as somebody may have copied it, without its first line
    with pytest.raises(StartupError, match="FEDTIER_SIGNING_KEY is neither") as refusal:
        token.callback(role="client", subject="client-3", days=1.0, out=None, audience="fedtier", as_json=False)  # type: ignore[misc]
    assert body[:20] not in str(refusal.value)


def test_a_verify_key_that_is_not_there_is_named() -> None:
    with pytest.raises(StartupError, match=r"'/nowhere/key.pem' \(No such file"):
        read_text("/nowhere/key.pem", "FEDTIER_VERIFY_KEYS")


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("damage", ["{}!", "\udcff{}", "{}" + "A" * 40])
def test_a_token_that_does_not_verify_is_not_repeated(part: int, damage: str) -> None:
    parts = ["eyJhbGciOiJFZERTQSJ9", "eyJzdWIiOiJ4In0", SECRET]
    parts[part] = damage.format(SECRET)
    with pytest.raises(Unauthenticated) as refusal:
        TokenVerifier([generate_keys()[1]]).verify(".".join(parts))
    assert SECRET not in refusal.value.detail


def test_options_that_hold_a_secret_do_not_show_it() -> None:
    options: list[object] = [
        WorkerOptions(
            master="http://127.0.0.1:9",
            state_dir=Path("state"),
            batch_max=1,
            batch_age=1.0,
            threads=9,
            token=lambda: SECRET,
            verifier=None,
        ),
        ClientOptions(
            server="http://127.0.0.1:9", client_id="a", data=Path("data"), state_dir=Path("state"), token=lambda: SECRET
        ),
        TokenPlace(SECRET),
        ModelElsewhere(f"http://s3.example.org/model?X-Amz-Signature={SECRET}"),
        Credentials("key", SECRET),
    ]
    for shown in options:
        assert SECRET not in f"{shown!r} {shown}"


def modules() -> Iterator[ModuleType]:
    """Yield every module that we ship; those of torch tasks are left out where torch is not there."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__") or found.name == "fedtier_cli.tethered":
                continue
            try:
                yield importlib.import_module(found.name)
            except ImportError as error:
                if error.name != "torch":
                    raise


def test_every_field_that_is_named_as_a_secret_is_left_out_of_its_repr() -> None:
    shown: list[str] = []
    hidden: list[str] = []
    kinds = {value for module in modules() for value in vars(module).values() if isinstance(value, type)}
    for kind in filter(dataclasses.is_dataclass, kinds):
        for field in dataclasses.fields(kind):
            if any(word in field.name for word in TELLING):
                is_shown = field.repr and kind.__repr__ is not object.__repr__
                (shown if is_shown else hidden).append(f"{kind.__module__}.{kind.__qualname__}.{field.name}")
    assert shown == []
    assert "worker_aggregator.app.WorkerOptions.token" in hidden
    assert "fedtier_cli.seaweed_credentials.Credentials.secret_key" in hidden


def commands(group: click.Command, name: str = "fedtier") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, click.Group):
        yield name, group
        return
    context = click.Context(group)
    for inner in group.list_commands(context):
        found = group.get_command(context, inner)
        assert found is not None
        yield from commands(found, f"{name} {inner}")


def test_no_command_takes_a_secret_as_a_flag_which_the_list_of_processes_would_show() -> None:
    seen: dict[str, Any] = dict(commands(main))
    assert {"fedtier master", "fedtier worker", "fedtier client", "fedtier token"} <= seen.keys()
    flags = {f"{name} {flag}" for name, command in seen.items() for p in command.params for flag in p.opts}
    telling = {flag for flag in flags if any(word.replace("_", "-") in flag.rpartition(" ")[2] for word in TELLING)}
    assert {flag for flag in telling if not flag.endswith("-file")} == set()
