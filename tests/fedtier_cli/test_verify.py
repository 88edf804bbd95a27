from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedtier.bucket import Bucket
from fedtier.dtypes import Array
from fedtier.fields import sha256_hex
from fedtier.round_keys import RoundKeys
from fedtier.rounds import Head, RoundManifest
from fedtier.store import ROUND_METADATA, SHA256_METADATA, RoundStore
from fedtier.tensors import TensorFile
from fedtier_cli.verification import check_contributors, check_times
from master_aggregator.planning import plan_tensors
from tests.builders import contributor, make_plan, noon, safetensors
from tests.fedtier_cli.federations import call, json_lines, place_of, publish
from tests.s3_servers import S3Server

pytestmark = pytest.mark.usefixtures("s3_environment")
NEWEST = 3


@pytest.fixture(scope="module")
def store(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> RoundStore:
    """Three published rounds, which tests leave as they are."""
    return publish(s3_server, tmp_path_factory.mktemp("federation"))


class Forgery:
    """A copy of a federation in real S3, of which a test changes one thing, and makes the rest fit."""

    def __init__(self, server: S3Server, store: RoundStore, folder: Path) -> None:
        self.client = server.client
        self.bucket = Bucket(server.bucket, client=self.client)
        self.keys = RoundKeys(f"tests/{uuid.uuid4().hex}/model.safetensors")
        self.flags = ["--bucket-name", server.bucket, "--bucket-key", self.keys.copy]
        self.manifests: dict[int, dict[str, Any]] = {}
        self.models: dict[int, bytes] = {}
        for published in store.history():
            path = folder / f"{published.round}.safetensors"
            store.download_model(published.round, published.manifest.model.sha256, path)
            self.models[published.round] = path.read_bytes()
            self.manifests[published.round] = json.loads(published.manifest.to_json())
        head = store.read_head()
        assert head is not None
        self.attempt = head.head.attempt
        self.folder = folder
        for number, content in self.models.items():
            self.write(self.keys.model(number, sha256_hex(content)), content)
        self.write(self.keys.copy, self.models[NEWEST])
        self.publish()

    def write(self, key: str, content: bytes) -> None:
        """Write an object over what stands there."""
        facts = self.bucket.facts(key)
        self.bucket.put(key, content, expected=None if facts is None else facts.etag)

    def copy(self, number: int, content: bytes, *, said: bytes | None = None) -> None:
        """Have the copy be some bytes, and say that it is a round's model."""
        sha256 = sha256_hex(content if said is None else said)
        metadata = {ROUND_METADATA: str(number), SHA256_METADATA: sha256}
        self.client.put_object(Bucket=self.bucket.name, Key=self.keys.copy, Body=content, Metadata=metadata)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket.name, Key=key)

    def publish(self, start: int = 0) -> None:
        """Write manifests from a round on, each with the digest of the one before, and head."""
        for number in range(start, NEWEST + 1):
            document = self.manifests[number]
            if number > max(start, 0):
                document["previous"] = {"round": number - 1, "manifest_sha256": self.digests[number - 1]}
            content = json.dumps(document).encode()
            self.write(self.keys.manifest(number, sha256_hex(content)), content)
        head = Head(round=NEWEST, manifest_sha256=self.digests[NEWEST], attempt=self.attempt)
        self.write(self.keys.head, head.to_json())

    @property
    def digests(self) -> dict[int, str]:
        return {number: sha256_hex(json.dumps(document).encode()) for number, document in self.manifests.items()}

    def say(self, **changes: Any) -> None:
        """Have the newest manifest say something else."""
        self.manifests[NEWEST] |= changes
        self.publish(NEWEST)

    def arrays(self) -> dict[str, Array]:
        """Return the newest model."""
        path = self.folder / f"{NEWEST}.safetensors"
        file = TensorFile(path)
        return {spec.name: file.array(spec.name).copy() for spec in file.header.specs}

    def publish_model(self, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
        """Have the newest round be another model, in every digest."""
        content = safetensors(arrays, metadata)
        sha256 = sha256_hex(content)
        self.write(self.keys.model(NEWEST, sha256), content)
        self.write(self.keys.copy, content)
        self.say(model={"sha256": sha256, "bytes": len(content)})

    def model_key(self, number: int) -> str:
        return self.keys.model(number, self.manifests[number]["model"]["sha256"])

    def manifest_key(self, number: int) -> str:
        return self.keys.manifest(number, self.digests[number])


@pytest.fixture
def forgery(s3_server: S3Server, store: RoundStore, tmp_path: Path) -> Forgery:
    return Forgery(s3_server, store, tmp_path)


def failed(forgery: Forgery, number: object = "last") -> dict[str, str]:
    """Verify, and return what failed and why."""
    result = call("verify", number, *forgery.flags, "--json")
    lines = json_lines(result)
    failures = {line["check"]: line["failure"] for line in lines[:-1] if line["result"] == "failed"}
    assert lines[-1] == {"checks": len(lines) - 1, "failed": len(failures)}
    assert result.exit_code == (3 if failures else 0), result.output
    return failures


def contributors(forgery: Forgery) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = forgery.manifests[NEWEST]["contributors"]
    return found


def skip_a_round(forgery: Forgery) -> None:
    base = forgery.manifests[NEWEST]["base"]  # rounds 1 and 2 have the same model
    assert forgery.manifests[1]["model"] == forgery.manifests[2]["model"]
    forgery.say(previous={"round": 1, "manifest_sha256": forgery.digests[1]}, base=base | {"round": 1})


def shrink_the_limit(forgery: Forgery) -> None:
    tensors = plan_tensors(forgery.folder / "2.safetensors", 16)
    plan = make_plan(weight_limit=16, tensors=tensors)
    forgery.say(weight_limit=16, schema=json.loads(plan.to_json())["schema"])


def change_plan(forgery: Forgery, **changes: Any) -> None:
    first, *others = forgery.manifests[NEWEST]["schema"]
    forgery.say(schema=[first | changes, *others])


def change_model(forgery: Forgery, name: str, array: Array) -> None:
    forgery.publish_model(forgery.arrays() | {name: array})


def count_twice(forgery: Forgery) -> None:
    one = contributors(forgery)[0]
    forgery.say(contributors=[one, one], total_examples=2 * one["num_examples"])


def reverse_the_model(forgery: Forgery) -> None:
    forgery.publish_model(dict(reversed(forgery.arrays().items())))


def point_head_elsewhere(forgery: Forgery) -> None:
    head = Head(round=NEWEST, manifest_sha256="0" * 64, attempt=forgery.attempt)
    forgery.write(forgery.keys.head, head.to_json())


TAMPERINGS: list[tuple[str, Callable[[Forgery], None]]] = [
    ("chain", point_head_elsewhere),
    ("chain", lambda forgery: forgery.write(forgery.manifest_key(3), b"{}")),
    ("chain", lambda forgery: forgery.write(forgery.manifest_key(2), b"{}")),
    ("chain", lambda forgery: forgery.delete(forgery.manifest_key(2))),
    ("chain", lambda forgery: forgery.say(round=4)),
    ("attempt", lambda forgery: forgery.say(attempt=forgery.attempt)),
    ("previous", skip_a_round),
    ("base", lambda forgery: forgery.say(base=forgery.manifests[NEWEST]["base"] | {"round": 1})),
    ("base", lambda forgery: forgery.say(base=forgery.manifests[NEWEST]["base"] | {"sha256": "0" * 64})),
    ("base", lambda forgery: forgery.say(base=forgery.manifests[NEWEST]["base"] | {"bytes": 1})),
    ("contributors", lambda forgery: forgery.say(contributors=contributors(forgery)[::-1])),
    ("contributors", count_twice),
    ("cohort", lambda forgery: forgery.say(cohort=["client-0", "client-1"])),
    ("quorum", lambda forgery: forgery.say(threshold=3, min_clients=3)),
    ("total-examples", lambda forgery: forgery.say(total_examples=23)),
    ("weight-limit", shrink_the_limit),
    ("times", lambda forgery: forgery.say(closed_at="2001-01-01T00:00:00Z")),
    ("times", lambda forgery: forgery.say(published_at="2001-01-01T00:00:00Z")),
    ("model", lambda forgery: forgery.write(forgery.model_key(3), forgery.models[3][:-1] + b"?")),
    ("model", lambda forgery: forgery.delete(forgery.model_key(3))),
    ("model-bytes", lambda forgery: forgery.say(model=forgery.manifests[NEWEST]["model"] | {"bytes": 1})),
    ("base-model", lambda forgery: forgery.write(forgery.model_key(2), forgery.models[2][:-1] + b"?")),
    ("plan", lambda forgery: change_plan(forgery, exponent=34)),
    ("plan", lambda forgery: change_plan(forgery, kind="wide", exponent=149)),
    ("plan", lambda forgery: forgery.say(weight_limit=1 << 25)),
    ("schema", reverse_the_model),
    ("schema", lambda forgery: change_model(forgery, "conv.weight", np.zeros((3, 2), np.float32))),
    ("schema", lambda forgery: change_model(forgery, "conv.weight", np.zeros((2, 3), np.float16))),
    ("schema", lambda forgery: change_model(forgery, "more", np.zeros((3, 2), np.float32))),
    ("metadata", lambda forgery: forgery.publish_model(forgery.arrays(), {"made by": "hand"})),
    ("kept", lambda forgery: change_model(forgery, "mask", np.array([[1, -np.inf]], np.float32))),
    ("bounds", lambda forgery: change_model(forgery, "conv.weight", np.full((2, 3), 1e30, np.float32))),
    ("bounds", lambda forgery: change_model(forgery, "conv.bias", np.array([0, np.nan], np.float32))),
    ("bounds", lambda forgery: change_model(forgery, "steps", np.array(1 << 61, np.int64))),
    ("copy", lambda forgery: forgery.write(forgery.keys.copy, forgery.models[0])),
    ("copy", lambda forgery: forgery.delete(forgery.keys.copy)),
    ("copy", lambda forgery: forgery.copy(0, forgery.models[1])),
    ("copy", lambda forgery: forgery.copy(0, forgery.models[0], said=forgery.models[1])),
    ("copy", lambda forgery: forgery.copy(NEWEST, forgery.models[0])),
]


@pytest.mark.parametrize(
    ("name", "tamper"), TAMPERINGS, ids=[f"{name}-{number}" for number, (name, _) in enumerate(TAMPERINGS)]
)
def test_exactly_the_check_of_what_was_tampered_with_fails(
    forgery: Forgery, name: str, tamper: Callable[[Forgery], None]
) -> None:
    tamper(forgery)
    assert list(failed(forgery)) == [name]


def test_every_check_that_can_fail_is_tampered_with(forgery: Forgery) -> None:
    made = {line["check"] for line in json_lines(call("verify", "last", *forgery.flags, "--json"))[:-1]}
    assert made == {name for name, _ in TAMPERINGS} | {"max-examples"}  # which only remarks


def test_a_rewritten_copy_of_a_federation_is_as_good_as_the_federation(forgery: Forgery) -> None:
    assert failed(forgery) == {}


def test_a_copy_that_is_still_of_an_older_round_is_a_remark(forgery: Forgery) -> None:
    forgery.copy(0, forgery.models[0])

    lines = json_lines(call("verify", "last", *forgery.flags, "--json"))

    (check,) = [line for line in lines if line.get("check") == "copy"]
    assert check["result"] != "failed"
    assert "it is that of round 0 still" in check["remark"]


def test_an_older_round_is_checked_against_what_follows_it(forgery: Forgery) -> None:
    forgery.manifests[2]["attempt"] = forgery.manifests[3]["attempt"]
    forgery.publish(2)
    assert list(failed(forgery, 2)) == ["attempt"]


def test_a_broken_chain_leaves_the_rounds_above_it_to_be_checked(forgery: Forgery) -> None:
    forgery.write(forgery.manifest_key(1), b"{}")
    result = call("verify", "--all", *forgery.flags)
    assert result.exit_code == 3
    assert "chain     FAILED" in result.stdout
    assert "round 3   ok     " in result.stdout
    assert f"has the SHA-256 {sha256_hex(b'{}')}" in " ".join(result.stdout.split())


def test_all_rounds_of_a_federation_are_verified(s3_server: S3Server, store: RoundStore) -> None:
    result = call("verify", "--all", *place_of(s3_server, store))
    assert result.exit_code == 0
    rounds = [line.split()[:3] for line in result.stdout.splitlines()]
    assert rounds[1:-1] == [["round", number, "ok"] for number in "3210"]
    assert result.stdout.endswith("checks, all ok\n")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["7"], 1, "round 7 is not published; the newest is 3"),
        (["newest"], 2, "'newest' is neither the number of a round nor last"),
        ([], 2, "name a round, or last, or give --all"),
        (["1", "--all"], 2, "name a round, or last, or give --all"),
    ],
)
def test_what_cannot_be_verified_is_said(
    s3_server: S3Server, store: RoundStore, arguments: list[str], status: int, words: str
) -> None:
    result = call("verify", *arguments, *place_of(s3_server, store))
    assert (result.exit_code, words in result.stderr) == (status, True), result.output


def test_where_nothing_is_published_there_is_nothing_to_verify(bucket: str, bucket_key: str) -> None:
    result = call("verify", "--all", "--bucket-name", bucket, "--bucket-key", bucket_key)
    assert result.exit_code == 1
    assert "nothing is published at" in result.stderr


def manifest(**changes: Any) -> RoundManifest:
    plan = make_plan(threshold=3, deadline=noon(5))
    fields = {name: getattr(plan, name) for name in type(plan).model_fields}
    return RoundManifest(
        **fields
        | {
            "model": {"sha256": "a" * 64, "bytes": 8},
            "total_examples": 20,
            "contributors": (contributor("client-0"), contributor("client-1")),
            "previous": {"round": 0, "manifest_sha256": "b" * 64},
            "opened_at": noon(),
            "closed_at": noon(5),
            "published_at": noon(6),
        }
        | changes
    )


@pytest.mark.parametrize(
    ("changes", "name", "remark"),
    [
        ({}, "quorum", "2 clients where 3 close a round: closed at its deadline"),
        ({"closed_at": noon(4)}, "quorum", "2 clients where 3 close a round: closed by the operator"),
        ({"max_examples": 9}, "max-examples", "more than 9, let through by a worker: client-0, client-1"),
        ({"max_examples": 10}, "max-examples", None),
        ({"threshold": 2}, "quorum", None),
    ],
)
def test_what_the_protocol_allows_is_a_remark(changes: dict[str, Any], name: str, remark: str | None) -> None:
    checks = {check.name: check for check in check_contributors(manifest(**changes))}
    assert checks[name].failure is None
    seen = checks[name].remark
    assert seen is remark or (remark is not None and seen is not None and seen.startswith(remark))


def test_a_clock_that_was_set_back_between_rounds_is_a_remark() -> None:
    check = check_times(manifest(), manifest(published_at=noon(60)))
    assert check.failure is None
    assert check.remark is not None
    assert "the clock was set back" in check.remark
