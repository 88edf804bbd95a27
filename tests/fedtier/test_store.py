from __future__ import annotations

import hashlib
import os
import socket
import threading
import tracemalloc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import requests
from botocore.stub import Stubber

from fedtier.bucket import READ_SILENCE, WRITE_SILENCE, Bucket, connect
from fedtier.bucket_errors import ObjectMissing, PreconditionFailed
from fedtier.fields import sha256_hex
from fedtier.problems import StartupError
from fedtier.round_keys import RoundKeys
from fedtier.rounds import Head
from fedtier.store import (
    HeadMoved,
    RoundStore,
    StoreCorrupt,
    StoredHead,
    StoreRefused,
    StoreUnavailable,
)
from fedtier_cli.seaweed import HOST
from tests.fedtier.published import initial_manifest, manifest_of, publish_rounds, write_model
from tests.relays import S3BehindRelay
from tests.s3_servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

pytestmark = pytest.mark.system

PART = 5 << 20
TWO_PARTS_AND_A_BIT = (2 * PART + 1000) // 4
T = TypeVar("T")


@pytest.fixture
def store(s3_environment: Mapping[str, str], s3_server: S3Server, bucket_key: str) -> RoundStore:
    return RoundStore(s3_server.bucket, bucket_key, part_bytes=PART, client=s3_server.client)


@pytest.fixture
def keys(bucket_key: str) -> RoundKeys:
    return RoundKeys(bucket_key)


def head(attempt: int, *, round_number: int = 0, digest: str = "a" * 64) -> Head:
    return Head(round=round_number, manifest_sha256=digest, attempt=attempt)


def all_at_once(count: int, act: Callable[[int], T]) -> list[T | Exception]:
    """Run `act(0)` ... `act(count - 1)` at the same time and return what each returned or raised."""
    barrier = threading.Barrier(count)

    def run(index: int) -> T | Exception:
        barrier.wait()
        try:
            return act(index)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def unfinished_uploads(bucket: str, prefix: str) -> int:
    # Some servers list by exact key only, so everything is listed and sifted here.
    uploads = connect().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return sum(upload["Key"].startswith(prefix) for upload in uploads)


class TestCheck:
    def test_an_empty_bucket_is_fine(self, store: RoundStore) -> None:
        store.check()
        assert store.read_head() is None

    def test_an_unreachable_endpoint_is_named(
        self, s3_environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket() as bound_but_silent:
            bound_but_silent.bind((HOST, 0))
            endpoint = f"http://{HOST}:{bound_but_silent.getsockname()[1]}"
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
            store = RoundStore("fedtier", "model.safetensors")
            with pytest.raises(StartupError, match=rf"S3 at {endpoint} cannot be reached .*AWS_ENDPOINT_URL_S3"):
                store.check()
            with pytest.raises(StoreUnavailable):
                store.read_head()

    @pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
    def test_wrong_credentials_are_said_to_be_wrong(
        self, s3_environment: Mapping[str, str], bucket: str, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv(name, "wrong")
        with pytest.raises(StartupError, match=r"\(HTTP 403\); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            RoundStore(bucket, "model.safetensors").check()

    def test_missing_credentials_are_said_to_be_missing(
        self, s3_environment: Mapping[str, str], bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, os.devnull)
        with pytest.raises(StartupError, match=r"there are no credentials .* set AWS_ACCESS_KEY_ID"):
            RoundStore(bucket, "model.safetensors").check()

    def test_a_missing_bucket_is_named(self, s3_environment: Mapping[str, str]) -> None:
        with pytest.raises(StartupError, match="has no bucket 'no-such-bucket'; create it, or name another"):
            RoundStore("no-such-bucket", "model.safetensors").check()

    def test_a_bucket_name_that_cannot_be_is_refused(self, s3_environment: Mapping[str, str]) -> None:
        with pytest.raises(StartupError, match="no bucket/model"):
            RoundStore("no bucket", "model.safetensors").check()

    def test_a_bucket_key_without_extension_is_refused(self, s3_environment: Mapping[str, str], bucket: str) -> None:
        with pytest.raises(StartupError, match="'jobs/mnist' is not of the form"):
            RoundStore(bucket, "jobs/mnist")

    @pytest.mark.parametrize(("name", "value"), [("AWS_PROFILE", "nobody"), ("AWS_ENDPOINT_URL_S3", "127.0.0.1:9000")])
    def test_settings_that_cannot_be_are_refused(
        self, s3_environment: Mapping[str, str], bucket: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(StartupError, match=f"the AWS settings do not work.*{value}"):
            RoundStore(bucket, "model.safetensors")

    def test_a_head_that_is_none_is_refused(self, store: RoundStore, bucket: str, keys: RoundKeys) -> None:
        connect().put_object(Bucket=bucket, Key=keys.head, Body=b'{"round": -1}')
        with pytest.raises(StartupError, match=f"{keys.head} is no head: .*round"):
            store.check()

    def test_a_ca_bundle_that_is_not_there_does_not_matter_to_plain_http(
        self, s3_environment: Mapping[str, str], bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        if not s3_environment["AWS_ENDPOINT_URL_S3"].startswith("http://"):
            pytest.skip("the given server speaks https")
        for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            monkeypatch.setenv(name, str(tmp_path / "none.pem"))
        RoundStore(bucket, "model.safetensors").check()

    def test_the_region_may_come_from_aws_region_alone(
        self, s3_environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        assert connect().meta.region_name == "eu-central-1"

    def test_buckets_are_addressed_by_path_at_an_endpoint_of_ones_own(
        self, s3_environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://minio.example:9000")
        url = RoundStore("models", "jobs/mnist.safetensors").presign_model(0, "a" * 64, 60)
        assert url.startswith("http://minio.example:9000/models/jobs/mnist/rounds/000000/model-aaaa")


class TestHead:
    def test_a_swap_returns_the_etag_that_the_next_swap_expects(self, store: RoundStore) -> None:
        first = store.swap_head(head(1), None, own_content_is_success=False)
        assert store.read_head() == StoredHead(head(1), first)
        second = store.swap_head(head(2), first, own_content_is_success=False)
        assert store.read_head() == StoredHead(head(2), second)

    @pytest.mark.parametrize("own_content_is_success", [True, False])
    def test_a_swap_that_expects_another_head_changes_nothing(
        self, store: RoundStore, own_content_is_success: bool
    ) -> None:
        stale = store.swap_head(head(1), None, own_content_is_success=False)
        current = StoredHead(head(2), store.swap_head(head(2), stale, own_content_is_success=False))
        for expected in (stale, None):
            with pytest.raises(HeadMoved) as moved:
                store.swap_head(head(3), expected, own_content_is_success=own_content_is_success)
            assert moved.value.current == current
        assert store.read_head() == current

    def test_a_swap_of_a_head_that_is_gone_says_so(self, store: RoundStore, bucket: str, keys: RoundKeys) -> None:
        etag = store.swap_head(head(1), None, own_content_is_success=False)
        connect().delete_object(Bucket=bucket, Key=keys.head)
        with pytest.raises(HeadMoved) as moved:
            store.swap_head(head(2), etag, own_content_is_success=True)
        assert moved.value.current is None
        assert store.read_head() is None

    def test_aws_says_not_found_where_others_say_that_the_condition_failed(self, s3_server: S3Server) -> None:
        client = connect(endpoint=s3_server.endpoint, access_key="key", secret_key="secret", region="us-east-1")
        with Stubber(client) as aws:
            aws.add_client_error("put_object", "NoSuchKey", http_status_code=404)
            aws.add_client_error("get_object", "NoSuchKey", http_status_code=404)
            with pytest.raises(HeadMoved) as moved:
                RoundStore("models", "m.safetensors", client=client).swap_head(
                    head(2), '"etag"', own_content_is_success=True
                )
        assert moved.value.current is None

    def test_own_content_is_success_where_the_caller_says_so(self, store: RoundStore) -> None:
        expected = store.swap_head(head(1), None, own_content_is_success=False)
        written = store.swap_head(head(2), expected, own_content_is_success=False)
        assert store.swap_head(head(2), expected, own_content_is_success=True) == written
        with pytest.raises(HeadMoved) as moved:
            store.swap_head(head(2), expected, own_content_is_success=False)
        assert moved.value.current == StoredHead(head(2), written)

    @pytest.mark.parametrize("own_content_is_success", [True, False])
    def test_a_lost_reply_is_success_for_publishing_and_not_for_claiming(
        self,
        s3_server: S3Server,
        store: RoundStore,
        bucket: str,
        bucket_key: str,
        monkeypatch: pytest.MonkeyPatch,
        own_content_is_success: bool,
    ) -> None:
        expected = store.swap_head(head(1), None, own_content_is_success=False)
        with S3BehindRelay(s3_server) as relay:
            relay.lose_replies(b"")
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
            behind_relay = RoundStore(bucket, bucket_key)
            if own_content_is_success:
                etag = behind_relay.swap_head(head(2), expected, own_content_is_success=True)
                assert store.read_head() == StoredHead(head(2), etag)
            else:
                with pytest.raises(HeadMoved):
                    behind_relay.swap_head(head(2), expected, own_content_is_success=False)
            assert relay.left_to_lose == 0

    def test_of_swaps_at_the_same_time_exactly_one_wins(self, store: RoundStore) -> None:
        expected: str | None = None
        for turn in range(3):
            proposed = [head(turn + 1, digest=f"{writer:064x}") for writer in range(8)]

            def swap(writer: int, proposed: list[Head] = proposed, expected: str | None = expected) -> tuple[int, str]:
                return writer, store.swap_head(proposed[writer], expected, own_content_is_success=True)

            outcomes = all_at_once(len(proposed), swap)
            [(winner, etag)] = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
            assert store.read_head() == StoredHead(proposed[winner], etag)
            assert sum(isinstance(outcome, HeadMoved) for outcome in outcomes) == len(proposed) - 1
            expected = etag


class TestModels:
    @pytest.mark.parametrize("elements", [100, TWO_PARTS_AND_A_BIT])
    def test_a_model_comes_back_as_it_went(self, store: RoundStore, tmp_path: Path, elements: int) -> None:
        sha256 = write_model(tmp_path / "model", elements=elements)
        store.put_model(3, sha256, tmp_path / "model")
        store.put_model(3, sha256, tmp_path / "model")
        store.download_model(3, sha256, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == (tmp_path / "model").read_bytes()

    def test_a_long_model_goes_up_in_parts(
        self, store: RoundStore, tmp_path: Path, bucket: str, keys: RoundKeys
    ) -> None:
        sha256 = write_model(tmp_path / "model", elements=TWO_PARTS_AND_A_BIT)
        store.put_model(3, sha256, tmp_path / "model")
        etag = connect().head_object(Bucket=bucket, Key=keys.model(3, sha256))["ETag"]
        assert etag.strip('"').endswith("-3")
        assert unfinished_uploads(bucket, keys.prefix) == 0

    @pytest.mark.parametrize("elements", [100, TWO_PARTS_AND_A_BIT])
    def test_a_model_put_by_many_at_once_is_there_once_and_everyone_succeeds(
        self, store: RoundStore, tmp_path: Path, bucket: str, keys: RoundKeys, elements: int
    ) -> None:
        sha256 = write_model(tmp_path / "model", elements=elements)
        assert all_at_once(4, lambda _: store.put_model(3, sha256, tmp_path / "model")) == [None] * 4
        store.download_model(3, sha256, tmp_path / "copy")
        assert unfinished_uploads(bucket, keys.prefix) == 0

    @pytest.mark.parametrize("elements", [100, PART // 4 - 100, TWO_PARTS_AND_A_BIT])
    def test_a_file_of_another_digest_is_not_written(
        self, store: RoundStore, tmp_path: Path, bucket: str, keys: RoundKeys, elements: int
    ) -> None:
        sha256 = write_model(tmp_path / "model", elements=elements)
        with pytest.raises(StoreCorrupt, match=f"{sha256}, not {'0' * 64}"):
            store.put_model(3, "0" * 64, tmp_path / "model")
        with pytest.raises(StoreCorrupt, match="is missing"):
            store.download_model(3, "0" * 64, tmp_path / "copy")
        assert unfinished_uploads(bucket, keys.prefix) == 0

    def test_a_model_in_one_request_is_neither_read_into_memory_nor_hashed_but_by_s3(
        self, store: RoundStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sha256 = write_model(tmp_path / "model", elements=PART // 4 - 100)
        asked, hashed = [], []

        def hashing(data: bytes = b"") -> hashlib._Hash:
            hashed.append(len(data))
            return hashlib.sha256(data)

        monkeypatch.setattr("botocore.auth.sha256", hashing)
        store._bucket._writer.meta.events.register(
            "before-send.s3.PutObject", lambda request, **_: asked.append(request.headers["X-Amz-Content-SHA256"])
        )
        tracemalloc.start()
        try:
            store.put_model(3, sha256, tmp_path / "model")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert asked == [b"UNSIGNED-PAYLOAD"]
        assert max(hashed) < PART // 10
        assert peak < PART // 2

    @pytest.mark.parametrize("lose", [1, 2, 3, 4, 5])
    def test_a_long_model_survives_a_lost_reply_to_any_of_its_requests(
        self,
        s3_server: S3Server,
        store: RoundStore,
        bucket: str,
        bucket_key: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        lose: int,
    ) -> None:
        sha256 = write_model(tmp_path / "model", elements=TWO_PARTS_AND_A_BIT)
        with S3BehindRelay(s3_server) as relay:
            relay.lose_replies(b"", after=lose - 1)
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
            behind_relay = RoundStore(bucket, bucket_key, part_bytes=PART)
            try:
                behind_relay.put_model(3, sha256, tmp_path / "model")
            except StoreUnavailable:
                behind_relay.put_model(3, sha256, tmp_path / "model")
            assert relay.left_to_lose == 0
        store.download_model(3, sha256, tmp_path / "copy")

    def test_a_download_of_other_bytes_leaves_nothing_behind(
        self, store: RoundStore, tmp_path: Path, bucket: str, keys: RoundKeys
    ) -> None:
        connect().put_object(Bucket=bucket, Key=keys.model(3, "0" * 64), Body=b"other bytes")
        with pytest.raises(StoreCorrupt, match=f"{sha256_hex(b'other bytes')}, not {'0' * 64}"):
            store.download_model(3, "0" * 64, tmp_path / "copy")
        assert list(tmp_path.iterdir()) == []

    def test_a_presigned_url_is_read_without_credentials_and_only_so(self, store: RoundStore, tmp_path: Path) -> None:
        sha256 = write_model(tmp_path / "model")
        store.put_model(3, sha256, tmp_path / "model")
        url = store.presign_model(3, sha256, 60)
        assert requests.get(url, timeout=10).content == (tmp_path / "model").read_bytes()
        assert requests.get(url.partition("?")[0], timeout=10).status_code == 403


class TestManifests:
    def test_a_manifest_comes_back_under_its_digest(self, store: RoundStore) -> None:
        data = initial_manifest("a" * 64)
        assert store.put_manifest(0, data) == store.put_manifest(0, data) == sha256_hex(data)
        assert store.read_manifest(0, sha256_hex(data)) == data

    def test_a_missing_manifest_is_corruption(self, store: RoundStore, keys: RoundKeys) -> None:
        with pytest.raises(StoreCorrupt, match=f"{keys.manifest(4, 'e' * 64)} is missing"):
            store.read_manifest(4, "e" * 64)

    def test_a_manifest_of_other_bytes_is_corruption(self, store: RoundStore, bucket: str, keys: RoundKeys) -> None:
        connect().put_object(Bucket=bucket, Key=keys.manifest(4, "e" * 64), Body=b"{}")
        with pytest.raises(StoreCorrupt, match=f"{sha256_hex(b'{}')}, not {'e' * 64}"):
            store.read_manifest(4, "e" * 64)

    def test_history_goes_from_head_back_to_round_0(self, store: RoundStore) -> None:
        assert list(store.history()) == []
        newest = publish_rounds(store, 3).head
        history = list(store.history())
        assert [published.round for published in history] == [3, 2, 1, 0]
        assert history[0].manifest_sha256 == newest.manifest_sha256
        assert [published.manifest.model.sha256 for published in history[:3]] == [f"{n:064x}" for n in (3, 2, 1)]

    def test_history_stops_at_a_manifest_that_is_none(self, store: RoundStore) -> None:
        no_manifest = store.put_manifest(1, b"[]")
        of_another_round = store.put_manifest(1, manifest_of(2, "a" * 64, "b" * 64))
        etag: str | None = None
        for digest, complaint in ((no_manifest, "not a manifest"), (of_another_round, "the manifest of round 2")):
            etag = store.swap_head(head(1, round_number=1, digest=digest), etag, own_content_is_success=False)
            with pytest.raises(StoreCorrupt, match=complaint):
                list(store.history())


class TestPublishInitial:
    def test_the_first_call_publishes_round_0(self, store: RoundStore, tmp_path: Path) -> None:
        sha256 = write_model(tmp_path / "model")
        published = store.publish_initial(tmp_path / "model")
        assert published == store.read_head()
        assert (published.head.round, published.head.attempt) == (0, 1)
        [initial] = store.history()
        assert initial.manifest.model.sha256 == sha256
        assert initial.manifest.model.bytes == (tmp_path / "model").stat().st_size
        store.download_model(0, sha256, tmp_path / "copy")

    def test_the_same_model_again_changes_nothing(self, store: RoundStore, tmp_path: Path) -> None:
        write_model(tmp_path / "model")
        first = store.publish_initial(tmp_path / "model")
        assert store.publish_initial(tmp_path / "model") == first

    def test_all_who_publish_the_same_model_at_once_succeed(self, store: RoundStore, tmp_path: Path) -> None:
        write_model(tmp_path / "model")
        outcomes = all_at_once(4, lambda _: store.publish_initial(tmp_path / "model"))
        assert outcomes == [store.read_head()] * 4

    def test_of_different_models_published_at_once_one_wins_and_the_others_hear_of_it(
        self, store: RoundStore, tmp_path: Path
    ) -> None:
        for seed in range(4):
            write_model(tmp_path / str(seed), seed=seed)
        outcomes = all_at_once(4, lambda seed: store.publish_initial(tmp_path / str(seed)))
        assert [outcome for outcome in outcomes if not isinstance(outcome, Exception)] == [store.read_head()]
        assert sum(isinstance(outcome, StartupError) for outcome in outcomes) == 3

    def test_the_same_model_succeeds_when_later_rounds_exist(self, store: RoundStore, tmp_path: Path) -> None:
        newest = publish_rounds(store, 2, initial_sha256=write_model(tmp_path / "model"))
        assert store.publish_initial(tmp_path / "model") == newest

    @pytest.mark.parametrize("last", [0, 2])
    def test_another_model_is_refused_with_both_digests(self, store: RoundStore, tmp_path: Path, last: int) -> None:
        publish_rounds(store, last, initial_sha256="d" * 64)
        sha256 = write_model(tmp_path / "model")
        with pytest.raises(StartupError, match=rf"has the SHA-256 {'d' * 64}, but .* has {sha256}"):
            store.publish_initial(tmp_path / "model")

    def test_a_file_that_is_no_model_is_refused(self, store: RoundStore, tmp_path: Path) -> None:
        with pytest.raises(StartupError, match=r"none cannot be read .*No such file"):
            store.publish_initial(tmp_path / "none")
        (tmp_path / "text").write_text("a text")
        with pytest.raises(StartupError, match="text is not a safetensors file"):
            store.publish_initial(tmp_path / "text")
        assert store.read_head() is None


class TestCopy:
    @pytest.mark.parametrize("elements", [100, TWO_PARTS_AND_A_BIT])
    def test_the_copy_is_the_model_of_the_newest_round(
        self, store: RoundStore, tmp_path: Path, bucket: str, keys: RoundKeys, elements: int
    ) -> None:
        for number in (1, 2):
            sha256 = write_model(tmp_path / "model", seed=number, elements=elements)
            store.refresh_copy(number, sha256, tmp_path / "model")
            copy = connect().get_object(Bucket=bucket, Key=keys.copy)
            assert copy["Body"].read() == (tmp_path / "model").read_bytes()
            assert copy["Metadata"] == {"fedtier-round": str(number), "fedtier-sha256": sha256}

    def test_a_large_copy_is_made_inside_s3(
        self, store: RoundStore, tmp_path: Path, bucket: str, keys: RoundKeys
    ) -> None:
        for number in (1, 2):
            sha256 = write_model(tmp_path / "model", seed=number, elements=TWO_PARTS_AND_A_BIT)
            store.put_model(number, sha256, tmp_path / "model")
            model = (tmp_path / "model").read_bytes()
            (tmp_path / "model").write_bytes(bytes(len(model)))
            store.refresh_copy(number, sha256, tmp_path / "model")
            copy = connect().get_object(Bucket=bucket, Key=keys.copy)
            assert copy["Body"].read() == model
            assert copy["Metadata"] == {"fedtier-round": str(number), "fedtier-sha256": sha256}
        assert unfinished_uploads(bucket, keys.prefix) == 0

    @pytest.mark.parametrize("size", [100, TWO_PARTS_AND_A_BIT])
    def test_a_copy_inside_s3_replaces_only_what_it_was_to_replace(
        self, s3_server: S3Server, s3_environment: Mapping[str, str], bucket: str, bucket_key: str, size: int
    ) -> None:
        copier = Bucket(bucket, client=s3_server.client)
        copier.put(f"{bucket_key}-source", bytes(size), expected=None)
        first = copier.copy(f"{bucket_key}-source", bucket_key, size, expected=None)
        for unexpected in (None, '"0"'):
            with pytest.raises(PreconditionFailed):
                copier.copy(f"{bucket_key}-source", bucket_key, size, expected=unexpected)
        assert copier.copy(f"{bucket_key}-source", bucket_key, size, expected=first)
        with pytest.raises(ObjectMissing):
            copier.copy(f"{bucket_key}-missing", bucket_key, size, expected=first)
        assert unfinished_uploads(bucket, bucket_key) == 0

    def test_an_older_round_leaves_the_copy_alone(
        self, store: RoundStore, tmp_path: Path, bucket: str, keys: RoundKeys
    ) -> None:
        newer, older = (write_model(tmp_path / str(seed), seed=seed) for seed in (10, 9))
        store.refresh_copy(10, newer, tmp_path / "10")
        store.refresh_copy(9, older, tmp_path / "9")
        assert connect().head_object(Bucket=bucket, Key=keys.copy)["Metadata"]["fedtier-round"] == "10"

    def test_a_copy_that_is_up_to_date_is_not_written_again(self, store: RoundStore, tmp_path: Path) -> None:
        sha256 = write_model(tmp_path / "model")
        store.refresh_copy(4, sha256, tmp_path / "model")
        (tmp_path / "model").unlink()
        store.refresh_copy(4, sha256, tmp_path / "model")

    @pytest.mark.parametrize("metadata", [{}, {"fedtier-round": "4", "fedtier-sha256": "0"}, {"fedtier-round": "x"}])
    def test_a_copy_that_is_something_else_is_replaced(
        self, store: RoundStore, tmp_path: Path, bucket: str, keys: RoundKeys, metadata: dict[str, str]
    ) -> None:
        connect().put_object(Bucket=bucket, Key=keys.copy, Body=b"something", Metadata=metadata)
        sha256 = write_model(tmp_path / "model")
        store.refresh_copy(4, sha256, tmp_path / "model")
        assert connect().head_object(Bucket=bucket, Key=keys.copy)["Metadata"]["fedtier-sha256"] == sha256

    def test_copies_of_different_rounds_at_once_end_with_the_newest(
        self, store: RoundStore, tmp_path: Path, bucket: str, keys: RoundKeys
    ) -> None:
        publish_rounds(store, 6)
        digests = [write_model(tmp_path / str(number), seed=number) for number in range(7)]
        all_at_once(7, lambda number: store.refresh_copy(number, digests[number], tmp_path / str(number)))
        assert connect().head_object(Bucket=bucket, Key=keys.copy)["Metadata"]["fedtier-round"] == "6"


def test_wrong_credentials_later_on_can_be_told_from_an_outage(
    s3_environment: Mapping[str, str], bucket: str, bucket_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreRefused):
        RoundStore(bucket, bucket_key).swap_head(head(1), None, own_content_is_success=True)


class TestSilence:
    def test_a_server_that_takes_its_time_over_a_write_is_waited_for_longer_than_for_a_read(
        self, s3_server: S3Server, s3_environment: Mapping[str, str], bucket_key: str
    ) -> None:
        with S3BehindRelay(s3_server) as relay:

            def reached(silence: float) -> S3Client:
                return connect(endpoint=relay.url, attempts=1, silence=silence)

            bucket = Bucket(s3_server.bucket, client=reached(0.2), patient=reached(WRITE_SILENCE))
            with ThreadPoolExecutor(1) as pool, relay.holding_replies(b"(PUT|GET) ", after=0):
                writing = pool.submit(bucket.put, bucket_key, b"content", expected=None)
                assert relay.held.acquire(timeout=30)
                with pytest.raises(StoreUnavailable, match="ReadTimeoutError"):
                    bucket.get(bucket_key)
                assert not writing.done()
        written = s3_server.client.head_object(Bucket=s3_server.bucket, Key=bucket_key)
        assert writing.result() == written["ETag"]

    def test_a_store_reads_and_writes_with_the_patience_of_each(
        self, s3_environment: Mapping[str, str], bucket: str, bucket_key: str
    ) -> None:
        objects = RoundStore(bucket, bucket_key)._bucket
        clients = objects._client, objects._writer
        silences = [client.meta.config.read_timeout for client in clients]  # type: ignore[attr-defined]  # stubs lack it
        assert silences == [READ_SILENCE, WRITE_SILENCE]
