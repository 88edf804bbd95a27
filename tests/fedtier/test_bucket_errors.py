from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from fedtier.bucket_errors import (
    DigestRefused,
    ObjectMissing,
    PreconditionFailed,
    StoreRefused,
    StoreUnavailable,
    translated,
)


def meaning(error: Exception) -> Exception:
    return translated(error, bucket="models", key="jobs/head.json", endpoint="http://127.0.0.1:9000")


def answer(code: str, status: int) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "",
                "HostId": "",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
            },
        },
        "PutObject",
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *[("InternalError", 500), ("SlowDown", 503), ("RequestTimeout", 400), ("Throttling", 400), ("TooMany", 429)],
        ("ConditionalRequestConflict", 409),  # AWS: another conditional write of this object is under way
        ("NoSuchUpload", 404),  # it was completed, but the answer was lost
    ],
)
def test_what_passes_by_itself_is_unavailable_and_not_refused(code: str, status: int) -> None:
    result = meaning(answer(code, status))
    assert type(result) is StoreUnavailable
    assert str(result) == (
        "S3 at http://127.0.0.1:9000 answered PutObject of s3://models/jobs/head.json "
        f"with {code} (HTTP {status}); try again"
    )


@pytest.mark.parametrize("code", ["BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"])
def test_bytes_that_changed_on_the_way_are_told_apart(code: str) -> None:
    result = meaning(answer(code, 400))
    assert type(result) is DigestRefused
    assert str(result).endswith(f"with {code} (HTTP 400); try again")


def test_a_timeout_is_unavailable() -> None:
    result = meaning(ReadTimeoutError(endpoint_url="http://127.0.0.1:9000"))
    assert type(result) is StoreUnavailable
    assert "ReadTimeoutError" in str(result)


@pytest.mark.parametrize(
    ("code", "status", "remedy"),
    [
        ("NoSuchBucket", 404, "create it, or name another"),
        ("ExpiredToken", 400, "check AWS_ACCESS_KEY_ID"),
        ("AccessDenied", 403, "need to list this bucket, and to get and put its objects"),
        ("PermanentRedirect", 301, "set AWS_REGION"),
        ("InvalidArgument", 400, "check the bucket and the endpoint"),
        ("NotImplemented", 501, "has no such operation"),
        ("501", 501, "has no such operation"),
    ],
)
def test_what_somebody_has_to_mend_is_refused_with_a_remedy(code: str, status: int, remedy: str) -> None:
    result = meaning(answer(code, status))
    assert type(result) is StoreRefused
    assert remedy in str(result)


def test_a_missing_object_and_a_failed_condition_are_no_failures_of_s3() -> None:
    assert type(meaning(answer("NoSuchKey", 404))) is ObjectMissing
    assert type(meaning(answer("404", 404))) is ObjectMissing
    assert type(meaning(answer("PreconditionFailed", 412))) is PreconditionFailed
