from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.infra.ansible.plays import ANSIBLE, ansible, site, site_of


def inventory(variables: dict[str, Any] | None = None, **groups: dict[str, Any]) -> dict[str, Any]:
    children = {group: {"hosts": hosts} for group, hosts in groups.items()}
    return {"all": {"vars": variables or {}, "children": children}}


ONE = {"m": {"ansible_host": "192.0.2.1"}}
WORKERS = {"w0": {"ansible_host": "192.0.2.2"}, "w1": {"ansible_host": "192.0.2.3", "address": "10.0.0.3"}}
CLIENTS: dict[str, Any] = {"c0": {}, "c1": {}}


def test_the_example_of_a_lab_is_one_that_a_federation_follows_from() -> None:
    found = site_of(ANSIBLE / "inventory" / "lab.example.yml")
    assert found["server_url"] == "https://192.0.2.11:443"
    assert found["aws"] == {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": "https://192.0.2.11:8333"}
    assert (found["threshold"], found["bucket_name"]) == (3, "fedtier-lab")
    assert found["hosts"]["lab-2"]["client_ids"] == ["client-0", "client-1"]


def test_what_an_inventory_says_wins_over_the_defaults(tmp_path: Path) -> None:
    said = {
        "federation": "f",
        "bucket_name": "b",
        "aws_region": "r",
        "threshold": 1,
        "server_url": "https://lb",
        "task": "t",
    }
    found = site(tmp_path, inventory(said, master_aggregator=ONE, worker_aggregators=WORKERS, clients=CLIENTS))
    assert {name: found[name] for name in ("federation", "bucket_name", "threshold", "server_url", "task")} == {
        name: value for name, value in said.items() if name != "aws_region"
    }
    assert found["aws"] == {"AWS_REGION": "r"}
    assert found["secrets_dir"] == f"{ANSIBLE}/secrets/f"


def test_a_group_and_a_host_win_over_all(tmp_path: Path) -> None:
    hosts = inventory({"ansible_user": "all"}, master_aggregator=ONE, worker_aggregators=WORKERS, clients=CLIENTS)
    hosts["all"]["children"]["worker_aggregators"]["vars"] = {"ansible_user": "group"}
    hosts["all"]["children"]["worker_aggregators"]["hosts"] = {**WORKERS, "w1": {"ansible_user": "host"}}
    found = site(tmp_path, hosts)["hosts"]
    assert [found[name]["ssh"]["user"] for name in ("m", "w0", "w1")] == ["all", "group", "host"]


def test_without_a_load_balancer_clients_ask_the_first_worker(tmp_path: Path) -> None:
    found = site(tmp_path, inventory(master_aggregator=ONE, worker_aggregators=WORKERS, clients=CLIENTS))
    assert found["server_url"] == "https://192.0.2.2:8443"
    assert found["master_url"] == "https://192.0.2.1:5000"


def test_clients_without_ids_are_counted_in_their_order(tmp_path: Path) -> None:
    found = site(tmp_path, inventory(master_aggregator=ONE, worker_aggregators=WORKERS, clients=CLIENTS))
    assert [found["hosts"][name]["client_ids"] for name in CLIENTS] == [["client-0"], ["client-1"]]
    assert found["threshold"] == 2


def test_a_host_that_does_several_things_is_in_several_groups(tmp_path: Path) -> None:
    found = site(tmp_path, inventory(master_aggregator=ONE, s3=ONE, worker_aggregators=ONE, clients={"m": {}}))
    assert set(found["hosts"]["m"]["groups"]) == {"master_aggregator", "s3", "worker_aggregators", "clients"}
    assert found["hosts"]["m"]["address"] == "192.0.2.1"


def test_credentials_are_for_the_names_by_which_hosts_are_asked(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    balancers = {"b": {"ansible_host": "192.0.2.9"}}
    hosts = inventory(
        {"server_names": ["nlb.example.org"]},
        master_aggregator=ONE,
        worker_aggregators=WORKERS,
        load_balancers=balancers,
    )
    path.write_text(json.dumps(hosts))
    found = {}
    for name in ("own_names", "front_names"):
        printed = ansible(
            "ansible",
            "w1",
            "--inventory",
            path,
            "--playbook-dir",
            ANSIBLE / "playbooks",
            "-m",
            "debug",
            "-a",
            f"var={name}",
        )
        found[name] = set(yaml.safe_load(printed.partition("=> ")[2])[name])
    assert found["own_names"] == {"10.0.0.3", "192.0.2.3", "127.0.0.1"}
    assert {"nlb.example.org", "192.0.2.9"} <= found["front_names"]
