"""What a federation leaves in S3, what the numbers in it mean, and how it ends and goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from fedtier.bucket import Bucket, connect
from fedtier.rounds import Head, InitialManifest, RoundManifest, parse_manifest
from fedtier.tensors import TensorFile
from tests.reference import Tensor
from tests.system.federation import Federation
from tests.system.updates import TenUpdates, safetensors, send, send_at_once, tensor, write_update

pytestmark = pytest.mark.system


@pytest.fixture
def in_s3(bucket: str, s3_environment: Mapping[str, str]) -> Bucket:
    return Bucket(bucket, client=connect())


def fetch(bucket: Bucket, key: str) -> bytes:
    stored = bucket.get(key)
    assert stored is not None, f"{key} is missing"
    return stored.data


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def constant(value: float) -> dict[str, Tensor]:
    return {"weight": tensor("F32", (2, 2), [value] * 4), "bias": tensor("F32", (2,), [-value] * 2)}


def test_a_client_with_three_examples_weighs_three_times_one_with_one(federation: Federation, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(safetensors(constant(0)))
    master = federation.master(model, "--threshold", "2")
    worker = federation.worker("worker", upstream=master.url)

    send(worker.url, write_update(tmp_path, "once", constant(1), num_examples=1), 1)
    send(worker.url, write_update(tmp_path, "thrice", constant(5), num_examples=3), 1)

    assert master.published(1).total_examples == 4
    mean = tmp_path / "mean.safetensors"
    mean.write_bytes(master.get("/v1/rounds/1/model").content)
    assert TensorFile(mean).array("weight").tolist() == [[4.0, 4.0], [4.0, 4.0]]
    assert TensorFile(mean).array("bias").tolist() == [-4.0, -4.0]


def test_s3_holds_the_rounds_by_content_a_head_and_a_copy(
    federation: Federation, ten_updates: TenUpdates, bucket_key: str, in_s3: Bucket
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10")
    prefix = bucket_key.removesuffix(".safetensors")
    initial = ten_updates.model.read_bytes()
    opening = Head.from_json(fetch(in_s3, f"{prefix}/head.json"))

    send_at_once([(master.url, update) for update in ten_updates.updates], 1)

    manifest = master.published(1)
    head = Head.from_json(fetch(in_s3, f"{prefix}/head.json"))
    assert (opening.round, head.round) == (0, 1)
    assert head.attempt == opening.attempt + 1 == master.status().attempt
    published = fetch(in_s3, f"{prefix}/rounds/000001/manifest-{head.manifest_sha256}.json")
    assert sha256(published) == head.manifest_sha256
    assert published == master.get("/v1/rounds/1/manifest").content
    assert manifest.previous.manifest_sha256 == opening.manifest_sha256

    model_key = f"{prefix}/rounds/000001/model-{manifest.model.sha256}.safetensors"
    model = fetch(in_s3, model_key)
    assert (sha256(model), len(model)) == (manifest.model.sha256, manifest.model.bytes)
    assert sha256(model) == ten_updates.mean_sha256
    master.process.wait_until(lambda: (copy := in_s3.get(bucket_key)) is not None and copy.data == model, "the copy")

    first = parse_manifest(fetch(in_s3, f"{prefix}/rounds/000000/manifest-{opening.manifest_sha256}.json"))
    assert isinstance(first, InitialManifest)
    assert first.model.sha256 == sha256(initial)
    assert fetch(in_s3, f"{prefix}/rounds/000000/model-{sha256(initial)}.safetensors") == initial


def test_clients_get_the_bytes_of_every_round_from_a_worker(federation: Federation, ten_updates: TenUpdates) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10")
    middle = federation.worker("middle", upstream=master.url)
    edge = federation.worker("edge", upstream=middle.url)
    send_at_once([(edge.url, update) for update in ten_updates.updates], 1)
    master.published(1)
    federation.wait_for_round(2)

    assert edge.get("/v1/rounds/0/model").content == ten_updates.model.read_bytes()
    assert sha256(edge.get("/v1/rounds/1/model").content) == ten_updates.mean_sha256
    assert edge.get("/v1/rounds/1/manifest").content == master.get("/v1/rounds/1/manifest").content
    assert edge.get("/v1/rounds/2/model").status_code == 404


def test_the_last_round_ends_the_federation_and_a_higher_one_takes_it_up_again(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    deliveries = ten_updates.updates
    master = federation.master(ten_updates.model, "--threshold", "10", "--rounds", "1")
    send_at_once([(master.url, update) for update in deliveries], 1)
    before: RoundManifest = master.published(1)
    finished = master.status()
    assert (finished.state, finished.round, finished.final_round) == ("finished", 2, 1)
    assert master.stop() == 0

    master = federation.master(ten_updates.model, "--threshold", "10", "--rounds", "2", "--exit-when-finished")
    assert (master.status().state, master.status().round) == ("collecting", 2)
    send_at_once([(master.url, update) for update in deliveries], 2)

    after = master.published(2)
    assert after.previous.round == before.round
    assert (before.model.sha256, after.model.sha256) == (ten_updates.mean_sha256,) * 2
    assert master.process.wait() == 0, master.process.log_end()


def test_a_scheduler_can_tell_a_master_that_was_stopped_from_one_that_is_done(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    flags = ("--threshold", "10", "--rounds", "1", "--exit-when-finished", "--stopped-status", "143")
    master = federation.master(ten_updates.model, *flags)
    assert master.stop() == 143

    master = federation.master(ten_updates.model, *flags)
    send_at_once([(master.url, update) for update in ten_updates.updates], 1)
    assert master.process.wait() == 0, master.process.log_end()
