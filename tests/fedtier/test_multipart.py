from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.stub import Stubber

from fedtier.bucket import Bucket, connect
from fedtier.fields import sha256_hex
from fedtier.multipart import MAX_PARTS, part_size
from fedtier.store import RoundStore

MIB = 1 << 20


@pytest.mark.parametrize("size", [1, 64 * MIB, 625_000 * MIB, 640_000 * MIB, 640_000 * MIB + 1, 5_000_000 * MIB])
def test_parts_are_never_too_many_and_grow_only_where_they_would_be(size: int) -> None:
    part = part_size(size, 64 * MIB)
    assert -(-size // part) <= MAX_PARTS
    assert (part == 64 * MIB) == (size <= MAX_PARTS * 64 * MIB)


def test_a_server_has_little_to_copy_for_one_answer() -> None:
    client = connect(endpoint="http://127.0.0.1:9", access_key="key", secret_key="secret", region="us-east-1")
    ranges: list[str] = []
    client.meta.events.register(
        "provide-client-params.s3.UploadPartCopy", lambda params, **_: ranges.append(params["CopySourceRange"])
    )
    with Stubber(client) as s3:
        s3.add_response("create_multipart_upload", {"UploadId": "upload"})
        for _ in range(3):
            s3.add_response("upload_part_copy", {"CopyPartResult": {"ETag": '"part"'}})
        s3.add_response("complete_multipart_upload", {"ETag": '"whole"'})
        assert Bucket("models", client=client).copy("source", "key", 300 * MIB, expected=None) == '"whole"'
        s3.assert_no_pending_responses()
    starts = [int(text.removeprefix("bytes=").split("-")[0]) for text in ranges]
    assert starts == [0, 128 * MIB, 256 * MIB]


def _answers_not_implemented(s3: Stubber) -> None:
    s3.add_client_error("upload_part_copy", "NotImplemented", http_status_code=501)


def _answers_as_to_a_part_that_was_sent(s3: Stubber) -> None:
    s3.add_response("upload_part_copy", {})


@pytest.mark.parametrize("answer", [_answers_not_implemented, _answers_as_to_a_part_that_was_sent])
def test_a_server_that_copies_no_parts_is_sent_the_copy(tmp_path: Path, answer: Callable[[Stubber], None]) -> None:
    model = tmp_path / "model"
    model.write_bytes(bytes(9 * MIB))
    client = connect(endpoint="http://127.0.0.1:9", access_key="key", secret_key="secret", region="us-east-1")
    sent: list[bytes] = []
    client.meta.events.register(
        "provide-client-params.s3.PutObject", lambda params, **_: sent.append(params["Body"].read())
    )
    with Stubber(client) as s3:
        s3.add_client_error("head_object", "404", http_status_code=404)
        s3.add_response("create_multipart_upload", {"UploadId": "upload"})
        answer(s3)
        s3.add_response("abort_multipart_upload", {})
        s3.add_response("put_object", {"ETag": '"copy"'})
        RoundStore("models", "m.safetensors", client=client).refresh_copy(1, sha256_hex(model.read_bytes()), model)
        s3.assert_no_pending_responses()
    assert sent == [model.read_bytes()]
