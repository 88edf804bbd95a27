"""What follows from an inventory, as a value."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fedtier.problems import StartupError
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.site import Host, Site, Ssh, read_site, site_of

EXAMPLE = Path(__file__).parents[3] / "infra" / "ansible" / "inventory" / "lab.example.yml"

A_HOST: dict[str, Any] = {"address": "a", "ssh": {"host": "b"}, "client_ids": ["c"]}


def told(secrets: Path, **more: Any) -> dict[str, Any]:
    """Return what ``site.yml`` prints."""
    ssh = {"host": "192.0.2.1", "port": 2222, "user": "admin", "key": "", "options": "-o UserKnownHostsFile='/a b'"}
    return {
        "federation": "ours",
        "server_url": "https://10.0.0.1:443",
        "master_url": "https://10.0.0.1:5000",
        "bucket_name": "rounds",
        "bucket_key": "jobs/model.safetensors",
        "task": "mnist_cnn",
        "threshold": "2",
        "aws": {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": "https://10.0.0.1:8333"},
        "secrets_dir": str(secrets),
        "hosts": {
            "one": {"address": "10.0.0.1", "ssh": ssh, "groups": ["master_aggregator", "s3"], "client_ids": []},
            "two": {"address": "10.0.0.2", "ssh": ssh, "groups": ["clients"], "client_ids": ["client-1", "client-0"]},
        },
        **more,
    }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return site_of(told(tmp_path), Path("hosts.yml"))


@pytest.mark.infra
def test_the_example_of_a_lab_is_a_site(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()
    site = read_site(Playbooks(EXAMPLE, key))
    assert (site.federation, site.bucket_name, site.threshold) == ("lab", "fedtier-lab", 3)
    assert site.server_url == "https://192.0.2.11:443"
    assert site.aws == {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": "https://192.0.2.11:8333"}
    assert [host.name for host in site.group("worker_aggregators")] == ["lab-2", "lab-3"]
    assert site.clients == {"client-0": "lab-2", "client-1": "lab-2", "client-2": "lab-3"}
    assert site.host("lab-3").ssh == Ssh(host="192.0.2.13", user="admin", key=key)


@pytest.mark.infra
def test_an_inventory_that_is_none_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text("all: [")
    with pytest.raises(StartupError, match=r"(?s)site\.yml could not be run; Ansible says.*hosts\.yml"):
        read_site(Playbooks(path))


def test_hosts_are_found_by_name_group_and_client(site: Site) -> None:
    assert site.clients == {"client-1": "two", "client-0": "two"}
    assert [host.name for host in site.group("s3")] == ["one"]
    assert site.host("two").address == "10.0.0.2"
    assert Site.model_validate_json(site.model_dump_json()) == site


def test_secrets_are_found_by_name(site: Site, tmp_path: Path) -> None:
    assert site.ca_certs == tmp_path / "authority" / "ca.pem"
    assert site.operator_token_file == tmp_path / "tokens" / "operator.token"


def test_a_site_with_its_own_s3_has_the_keys_for_it(site: Site, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"s3\.json are not there; set the hosts up first"):
        site.s3_environment()
    (tmp_path / "s3.json").write_text("[]")
    with pytest.raises(StartupError, match=r"s3\.json cannot be read as an object with access_key and secret_key"):
        site.s3_environment()
    (tmp_path / "s3.json").write_text(json.dumps({"access_key": "who", "secret_key": "hush"}))
    assert site.s3_environment() == {
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": "https://10.0.0.1:8333",
        "AWS_ACCESS_KEY_ID": "who",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "AWS_CA_BUNDLE": str(tmp_path / "authority" / "ca.pem"),
    }


def test_where_s3_is_amazons_whoever_asks_has_credentials_of_their_own(tmp_path: Path) -> None:
    site = site_of(told(tmp_path, aws={"AWS_REGION": "eu-west-1"}), Path("hosts.yml"))
    assert site.s3_environment() == {"AWS_REGION": "eu-west-1"}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"threshold": "many"}, "gives no federation: threshold: Input should be a valid integer"),
        ({"hosts": {"one": {"address": "a"}}}, r"gives no federation: hosts\.0\.ssh: Field required"),
        ({"hosts": {}}, "has 0 hosts in the group master_aggregator; put exactly one there"),
        (
            {"hosts": {"one": {**A_HOST, "groups": ["master_aggregator"]}, "two": A_HOST}},
            "has the client 'c' on more than one host; give each its own client_ids",
        ),
    ],
)
def test_what_is_no_site_is_refused(tmp_path: Path, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StartupError, match=sentence):
        site_of(told(tmp_path, **more), Path("hosts.yml"))


def test_ssh_asks_nothing_and_takes_what_the_inventory_says(tmp_path: Path) -> None:
    ssh = Ssh(host="192.0.2.1", port=2222, user="admin", key=tmp_path, options=("-o", "ConnectTimeout=3"))
    call = Host(name="one", address="10.0.0.1", ssh=ssh).ssh_command()
    told = subprocess.run([call[0], "-G", *call[1:]], capture_output=True, text=True, check=True).stdout.splitlines()
    assert {
        "hostname 192.0.2.1",
        "port 2222",
        "user admin",
        f"identityfile {tmp_path}",
        "batchmode yes",
        "stricthostkeychecking accept-new",
        "connecttimeout 3",
    } <= set(told)


def test_where_the_inventory_names_no_port_ssh_takes_what_it_is_set_to(tmp_path: Path) -> None:
    settings = tmp_path / "config"
    settings.write_text("Host one\n  Port 2200\n")
    host = Host(name="one", address="10.0.0.1", ssh=Ssh.model_validate({"host": "one", "port": ""}))
    call = host.ssh_command()
    told = subprocess.run([call[0], "-F", settings, "-G", *call[1:]], capture_output=True, text=True, check=True)
    assert "port 2200" in told.stdout.splitlines()
    assert host.ssh.at == "one"


@pytest.mark.parametrize("name", ["host", "user"])
def test_a_host_whose_name_is_an_option_of_ssh_is_refused(tmp_path: Path, name: str) -> None:
    ssh = {"host": "192.0.2.1", "user": "admin", name: "-oProxyCommand=touch /tmp/x"}
    hosts = {"one": {"address": "a", "ssh": ssh, "groups": ["master_aggregator"]}}
    with pytest.raises(
        StartupError, match=rf"hosts\.0\.ssh\.{name}: .*'-oProxyCommand=touch /tmp/x' starts with a dash"
    ):
        site_of(told(tmp_path, hosts=hosts), Path("hosts.yml"))


def test_a_tunnel_is_a_call_that_a_person_can_read() -> None:
    plain = Host(name="one", address="10.0.0.1", ssh=Ssh(host="192.0.2.1", user="admin"))
    assert " ".join(plain.ssh_tunnel(5000)) == "ssh -N -L 5000:127.0.0.1:5000 admin@192.0.2.1"
    keyed = Host(name="one", address="10.0.0.1", ssh=Ssh(host="192.0.2.1", port=2222, key=Path("/k")))
    assert " ".join(keyed.ssh_tunnel(6006)) == "ssh -i /k -p 2222 -N -L 6006:127.0.0.1:6006 192.0.2.1"


def test_words_reach_the_host_as_they_are() -> None:
    host = Host(name="one", address="10.0.0.1", ssh=Ssh(host="192.0.2.1"))
    assert host.ssh_command("journalctl", "-u", "fedtier-client@*")[-3:] == [
        "--",
        "192.0.2.1",
        "journalctl -u 'fedtier-client@*'",
    ]
