"""Shards on their way to hosts, by the real playbook; the hosts are folders of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fedtier.problems import StartupError
from fedtier.upstream import file_sha256
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.shipping import Sent, send_shards
from fedtier_cli.main import main
from tests.fedtier_cli.deploying.lab import lab
from tests.fedtier_cli.runs import facts_of

pytestmark = pytest.mark.infra


def split(inventory: Path, folder: Path, *flags: str) -> Result:
    call = ["split", "--dataset", "tabular", "--no-picture", "--saved_dir", str(folder), "--inventory", str(inventory)]
    return CliRunner().invoke(main, [*call, *flags])


def test_each_host_is_sent_what_its_clients_lack(tmp_path: Path) -> None:
    inventory, shards = lab(tmp_path, {"one": ["client-2"], "two": ["client-1", "client-0"]}), tmp_path / "shards"

    done = split(inventory, shards)

    assert done.exit_code == 0, done.output
    assert "tables among 3 clients" in done.output
    assert done.output.splitlines()[-1] == "3 shards sent, 0 were there; all have the SHA-256 that they should"
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"client-2.safetensors"}
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"client-0.safetensors", "client-1.safetensors"}
    for path in (tmp_path / "two").iterdir():
        assert file_sha256(path) == file_sha256(shards / path.name)

    (tmp_path / "two" / "client-1.safetensors").write_bytes(b"torn")
    sent = facts_of(split(inventory, shards, "--json", "--clients", "3").output, "sent")
    assert [(fact["client"], fact["host"], fact["new"]) for fact in sent] == [
        ("client-0", "two", False),
        ("client-1", "two", True),
        ("client-2", "one", False),
    ]
    assert [fact["sha256"] for fact in sent] == [
        file_sha256(shards / f"client-{number}.safetensors") for number in range(3)
    ]


def test_a_host_that_is_not_set_up_is_named(tmp_path: Path) -> None:
    done = split(lab(tmp_path, {"one": ["client-0"]}, service_user="nobody-of-ours"), tmp_path / "shards")
    assert done.exit_code == 1
    assert "failed on one: this host is not set up yet; call infra/ansible/init.sh" in done.stderr
    assert not list((tmp_path / "one").iterdir())


def test_another_number_of_clients_is_refused_before_anything_is_split(tmp_path: Path) -> None:
    done = split(lab(tmp_path, {"one": ["client-0"]}), tmp_path / "shards", "--clients", "2")
    assert done.exit_code == 1
    assert "has 1 client, so data are split among as many; leave out --clients" in done.stderr
    assert not (tmp_path / "shards").exists()


def test_a_shard_of_nobody_is_told_and_the_others_arrive(tmp_path: Path) -> None:
    shard = tmp_path / "shard"
    shard.write_bytes(b"data")
    playbooks = Playbooks(lab(tmp_path, {"one": ["ward-a"]}))
    assert send_shards(playbooks, {"ward-a": shard}) == [Sent("ward-a", "one", file_sha256(shard), 4, is_new=True)]
    with pytest.raises(StartupError, match="runs ward-b, so the shard stays here; add it to the client_ids of a host"):
        send_shards(playbooks, {"ward-a": shard, "ward-b": shard})


def test_what_arrives_changed_is_told(tmp_path: Path) -> None:
    shard = tmp_path / "shard"
    shard.write_bytes(b"data")
    playbooks = Playbooks(lab(tmp_path, {"one": ["client-0"]}))
    with pytest.raises(StartupError, match=f"client-0.safetensors has the SHA-256 {file_sha256(shard)}, wanted 00ff"):
        playbooks.run("data", extra_vars={"shards": {"client-0": {"path": str(shard), "sha256": "00ff"}}})
