"""A site on a simulated AWS, from nothing to nothing: what is made, what changes, who may do what, what is left."""

from __future__ import annotations

import json

from tests.infra.aws.life import Life
from tests.infra.aws.rights import PREFIX
from tests.infra.aws.site import STATE_KEY
from tests.infra.aws.terraform import Change

NAMES = {"master-0", "worker-0", "worker-1", "client-0", "client-1", "client-2"}
HOST = 'module.clients.module.hosts.aws_instance.this["client-{}"]'


def test_the_bucket_of_the_state_stays_as_it_is_and_is_not_destroyed(life: Life) -> None:
    assert life.state_drift == frozenset()
    assert "prevent_destroy" in life.state_refusal


def test_a_vpc_that_is_there_is_used_and_left_as_it_is(life: Life) -> None:
    network = {change for change in life.made if change.address.startswith("module.network.")}
    assert network
    assert life.planned_in_another_vpc == life.made - network


def test_a_site_is_made_with_all_its_hosts(life: Life) -> None:
    assert {change.action for change in life.made} == {"create"}
    assert {name.removeprefix("fedtier-") for name in life.instances} == NAMES


def test_a_second_plan_changes_nothing(life: Life) -> None:
    assert life.drift == frozenset()


def test_two_do_not_change_a_site_at_once(life: Life) -> None:
    assert "Error acquiring the state lock" in life.lock_refusal
    assert "somebody@elsewhere" in life.lock_refusal
    assert life.state_keys == {STATE_KEY}, "each command gives its lock back"


def test_hosts_are_hardened_alike(life: Life) -> None:
    for name, instance in life.instances.items():
        assert instance["MetadataOptions"]["HttpTokens"] == "required", name
        assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1, name
        assert instance["KeyName"] == "lab", name


def test_only_servers_have_a_role(life: Life) -> None:
    profiles = {
        name.removeprefix("fedtier-"): instance["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        for name, instance in life.instances.items()
        if "IamInstanceProfile" in instance
    }
    master, worker = "fedtier-ap-northeast-2-master", "fedtier-ap-northeast-2-worker"
    assert profiles == {"master-0": master, "worker-0": worker, "worker-1": worker}
    assert life.roles == {master, worker}


def test_the_load_balancer_leads_to_all_workers_and_to_nobody_else(life: Life) -> None:
    assert life.targets == {life.instances[f"fedtier-worker-{number}"]["InstanceId"] for number in range(2)}


def test_the_bucket_is_private_versioned_encrypted_and_tidied(life: Life) -> None:
    assert set(life.bucket["private"].values()) == {True}
    assert life.bucket["versioning"] == "Enabled"
    assert life.bucket["encryption"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (statement,) = json.loads(life.bucket["policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    old_rounds = next(rule for rule in life.bucket["lifecycle"] if rule["ID"] == "old-rounds")
    assert old_rounds["Filter"]["Prefix"] == f"{PREFIX}/rounds/"
    assert "Expiration" not in old_rounds, "a model is not deleted unless somebody says so"


def test_the_inventory_names_every_host_by_both_its_addresses(life: Life) -> None:
    groups = life.outputs["inventory"]["all"]["children"]
    listed = {name: host for group in groups.values() for name, host in group["hosts"].items() if host}
    assert {name: (host["ansible_host"], host["address"]) for name, host in listed.items()} == {
        name.removeprefix("fedtier-"): (instance["PublicIpAddress"], instance["PrivateIpAddress"])
        for name, instance in life.instances.items()
    }
    assert {group: set(members["hosts"]) for group, members in groups.items()} == {
        "master_aggregator": {"master-0"},
        "worker_aggregators": {"worker-0", "worker-1"},
        "clients": {"client-0", "client-1", "client-2"},
        "tensorboard": {"master-0"},
    }
    assert listed["client-1"]["client_ids"] == ["client-1"]


def test_the_inventory_lies_where_ansible_finds_it_and_goes_with_the_site(life: Life) -> None:
    assert life.inventory == life.outputs["inventory"]
    assert not life.is_inventory_left


def test_the_inventory_says_where_the_site_is(life: Life) -> None:
    dns = life.outputs["load_balancer_dns"]
    assert life.outputs["inventory"]["all"]["vars"] == {
        "ansible_user": "ubuntu",
        "federation": "fedtier",
        "aws_region": "ap-northeast-2",
        "bucket_name": life.outputs["bucket"],
        "bucket_key": f"{PREFIX}.safetensors",
        "master_port": 5000,
        "worker_port": 8443,
        "load_balancer_port": 443,
        "server_names": [dns],
        "server_url": f"https://{dns}",
    }


def test_the_masters_role_is_enough_to_publish_rounds_and_the_workers_to_read_them(life: Life) -> None:
    assert life.published.round == 1
    assert life.read == [1, 0]


def test_the_master_may_read_and_write_its_prefix_and_nothing_else(life: Life) -> None:
    assert {what for what, allowed in life.may["master"].items() if allowed} == {
        "reads the head",
        "reads the copy",
        "writes a round",
        "writes the copy",
    }
    assert {what for what, allowed in life.may["master"].items() if not allowed} == {
        "reads elsewhere",
        "writes elsewhere",
        "deletes a round",
        "opens the bucket",
        "lists buckets",
        "sees hosts",
        "sees roles",
    }


def test_a_worker_may_read_the_prefix_and_nothing_else(life: Life) -> None:
    assert {what for what, allowed in life.may["worker"].items() if allowed} == {"reads the head", "reads the copy"}
    assert len(life.may["worker"]) == len(life.may["master"])


def test_more_clients_change_nothing_else(life: Life) -> None:
    assert life.scaling == {Change(HOST.format(number), "create") for number in (3, 4)}
    before, after = (outputs["inventory"]["all"]["children"] for outputs in (life.outputs, life.scaled))
    grown = after["clients"]["hosts"]
    assert set(grown) == {f"client-{number}" for number in range(5)}
    assert {name: grown[name] for name in before["clients"]["hosts"]} == before["clients"]["hosts"]
    assert {**after, "clients": None} == {**before, "clients": None}


def test_destroying_leaves_nothing(life: Life) -> None:
    removed = {change.address for change in life.removed if change.action == "delete"}
    assert removed == {change.address for change in life.made | life.scaling}
    assert {change for change in life.removed if change.action != "delete"} == {
        Change("module.storage.aws_s3_bucket.models", "update")
    }, "the bucket is told that it goes with its models"
    assert life.after == life.before
