"""The life of a site on the simulated AWS, lived once and written down, for tests to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedtier.rounds import Head
from tests.infra.aws.cloud import Cloud
from tests.infra.aws.rights import Attempts, acting_as, publish_as_master, read_as_worker, tried
from tests.infra.aws.site import Site
from tests.infra.aws.terraform import Change


@dataclass(frozen=True, slots=True)
class Life:
    """What was seen, in the order of the fields; `seconds` says how long each step took."""

    state_refusal: str
    state_drift: frozenset[Change]
    before: frozenset[str]
    planned_in_another_vpc: frozenset[Change]
    made: frozenset[Change]
    inventory: Mapping[str, Any]
    drift: frozenset[Change]
    lock_refusal: str
    outputs: Mapping[str, Any]
    published: Head
    read: list[int]
    may: Mapping[str, Attempts]
    state_keys: set[str]
    instances: Mapping[str, Mapping[str, Any]]
    bucket: Mapping[str, Any]
    targets: set[str]
    roles: set[str]
    scaling: frozenset[Change]
    scaled: Mapping[str, Any]
    removed: frozenset[Change]
    after: frozenset[str]
    is_inventory_left: bool
    seconds: Mapping[str, float]


def live(site: Site, folder: Path) -> Life:
    """Make a site, let its hosts use their rights, make it larger, and destroy it."""
    cloud = site.cloud
    state_bucket = site.bootstrap()
    state_refusal, state_drift = site.refusal_to_destroy_the_state(), site.plan_bootstrap()
    before = cloud.everything()
    site.initialise(state_bucket)
    planned_in_another_vpc = site.plan_in(*cloud.default_network())
    made = site.deploy(state_bucket, clients=3)
    inventory = json.loads(site.inventory.read_text())
    drift = site.plan(clients=3)
    lock_refusal = site.refusal_while_locked(state_bucket, clients=3)
    outputs = site.outputs()
    published, read, may = use_rights(cloud, outputs["bucket"], folder)
    return Life(
        state_refusal=state_refusal,
        state_drift=state_drift,
        before=before,
        planned_in_another_vpc=planned_in_another_vpc,
        made=made,
        inventory=inventory,
        drift=drift,
        lock_refusal=lock_refusal,
        outputs=outputs,
        published=published,
        read=read,
        may=may,
        # In the order in which they stand here.
        state_keys=keys_in(cloud, state_bucket),
        instances=cloud.instances(),
        bucket=facts_of_bucket(cloud, outputs["bucket"]),
        targets=targets(cloud),
        roles={role["RoleName"] for role in cloud.client("iam").list_roles()["Roles"]},
        scaling=site.deploy(state_bucket, clients=5),
        scaled=site.outputs(),
        removed=site.destroy(state_bucket, clients=5),
        after=cloud.everything(),
        is_inventory_left=site.inventory.exists(),
        seconds=site.seconds,
    )


def use_rights(cloud: Cloud, bucket: str, folder: Path) -> tuple[Head, list[int], dict[str, Attempts]]:
    """Let each role do its work and try more than that, while policies count."""
    roles = {tier: f"fedtier-ap-northeast-2-{tier}" for tier in ("master", "worker")}
    keys = {tier: cloud.credentials_of(role) for tier, role in roles.items()}
    cloud.client("s3").put_object(Bucket=bucket, Key="jobs/mnist_cnn2/head.json", Body=b"{}")
    with pytest.MonkeyPatch.context() as patch:
        acting_as(roles["master"], cloud, patch)
        with cloud.policies_count():
            published = publish_as_master(bucket, folder)
    with pytest.MonkeyPatch.context() as patch:
        acting_as(roles["worker"], cloud, patch)
        with cloud.policies_count():
            read = read_as_worker(bucket, folder)
    with cloud.policies_count():
        # The worker first: what the master then overwrites is there for both.
        may = {tier: tried(cloud, bucket, keys[tier]) for tier in ("worker", "master")}
    return published, read, may


def keys_in(cloud: Cloud, bucket: str) -> set[str]:
    """Return the keys of all objects of a bucket."""
    return {thing["Key"] for thing in cloud.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])}


def facts_of_bucket(cloud: Cloud, bucket: str) -> dict[str, Any]:
    """Return how a bucket is kept."""
    s3 = cloud.client("s3")
    return {
        "versioning": s3.get_bucket_versioning(Bucket=bucket)["Status"],
        "encryption": s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"],
        "private": s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"],
        "policy": s3.get_bucket_policy(Bucket=bucket)["Policy"],
        "lifecycle": s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"],
    }


def targets(cloud: Cloud) -> set[str]:
    """Return the ids of the instances behind the load balancer."""
    elb = cloud.client("elbv2")
    group = elb.describe_target_groups()["TargetGroups"][0]["TargetGroupArn"]
    answer = elb.describe_target_health(TargetGroupArn=group)
    return {health["Target"]["Id"] for health in answer["TargetHealthDescriptions"]}
