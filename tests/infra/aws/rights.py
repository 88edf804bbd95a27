"""What the roles of the hosts may do, tried with the keys that the hosts get and with the project's own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from fedtier.bucket import connect
from fedtier.rounds import Head
from fedtier.store import RoundStore
from tests.fedtier.published import manifest_of, write_model
from tests.infra.aws.cloud import Cloud, is_allowed

BUCKET_KEY: Final = "jobs/mnist_cnn.safetensors"
PREFIX: Final = "jobs/mnist_cnn"
_PART: Final = 5 << 20
"""Bytes; the least that S3 takes as a part."""

Attempts = dict[str, bool]


def publish_as_master(bucket: str, folder: Path) -> Head:
    """Publish two rounds as the master does, with a model that goes up in parts, and return the head."""
    store = RoundStore(bucket, BUCKET_KEY, part_bytes=_PART, client=connect())
    initial, model = folder / "initial.safetensors", folder / "round-1.safetensors"
    write_model(initial)
    sha256 = write_model(model, seed=1, elements=2 * _PART // 4)
    start = store.publish_initial(initial)
    store.put_model(1, sha256, model)
    manifest = store.put_manifest(1, manifest_of(1, sha256, start.head.manifest_sha256))
    head = Head(round=1, manifest_sha256=manifest, attempt=2)
    store.swap_head(head, start.etag, own_content_is_success=True)
    store.refresh_copy(1, sha256, model)
    return head


def read_as_worker(bucket: str, folder: Path) -> list[int]:
    """Read every published round and its model as a worker does, and return the rounds' numbers."""
    store = RoundStore(bucket, BUCKET_KEY, client=connect())
    rounds = list(store.history())
    newest = rounds[0]
    store.download_model(newest.round, newest.manifest.model.sha256, folder / "read.safetensors")
    return [published.round for published in rounds]


def acting_as(role: str, cloud: Cloud, patch: pytest.MonkeyPatch) -> None:
    """Give this process the keys of a role, where a host finds them by itself."""
    credentials = cloud.credentials_of(role)
    for name, value in cloud.environment.items():
        patch.setenv(name, value)
    patch.setenv("AWS_ACCESS_KEY_ID", credentials["AccessKeyId"])
    patch.setenv("AWS_SECRET_ACCESS_KEY", credentials["SecretAccessKey"])
    patch.setenv("AWS_SESSION_TOKEN", credentials["SessionToken"])


def tried(cloud: Cloud, bucket: str, credentials: Mapping[str, str]) -> Attempts:
    """Return, for each of some requests, whether AWS does it for whoever has the credentials."""
    s3 = cloud.client("s3", credentials)
    ec2 = cloud.client("ec2", credentials)
    iam = cloud.client("iam", credentials)
    inside, outside = f"{PREFIX}/rounds/000002/model-x", "jobs/mnist_cnn2/head.json"
    policy: dict[str, Any] = {"Version": "2012-10-17", "Statement": []}
    attempts: dict[str, Callable[[], object]] = {
        "reads the head": lambda: s3.get_object(Bucket=bucket, Key=f"{PREFIX}/head.json"),
        "reads the copy": lambda: s3.get_object(Bucket=bucket, Key=BUCKET_KEY),
        "reads elsewhere": lambda: s3.get_object(Bucket=bucket, Key=outside),
        "writes a round": lambda: s3.put_object(Bucket=bucket, Key=inside, Body=b""),
        "writes the copy": lambda: s3.put_object(Bucket=bucket, Key=BUCKET_KEY, Body=b""),
        "writes elsewhere": lambda: s3.put_object(Bucket=bucket, Key=outside, Body=b""),
        "deletes a round": lambda: s3.delete_object(Bucket=bucket, Key=inside),
        "opens the bucket": lambda: s3.put_bucket_policy(Bucket=bucket, Policy=str(policy)),
        "lists buckets": s3.list_buckets,
        "sees hosts": ec2.describe_instances,
        "sees roles": iam.list_roles,
    }
    return {what: is_allowed(attempt) for what, attempt in attempts.items()}
