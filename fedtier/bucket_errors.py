"""What can go wrong with S3, told apart by what the caller can do about it."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

_ABSENT: Final = frozenset({"NoSuchKey", "404"})
_BAD_CREDENTIALS: Final = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "AuthFailure",
        "InvalidClientTokenId",
    }
)
_BAD_REGION: Final = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_PASSING: Final = frozenset({"SlowDown", "RequestTimeout", "Throttling", "NoSuchUpload", "IncompleteBody"})
_WRONG_DIGEST: Final = frozenset({"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"})
"""What AWS and SeaweedFS, and MinIO, answer to bytes of another SHA-256 than was sent along."""
_PASSING_STATUS: Final = frozenset({408, 409, 429})


class StoreUnavailable(Exception):
    """S3 cannot be used now, as one sentence; trying again is safe and may help."""


class StoreRefused(StoreUnavailable):
    """S3 answers, but not with these settings: somebody has to mend credentials, policy or bucket first."""


class DigestRefused(StoreUnavailable):
    """S3 got other bytes than their digest is of; nothing was written."""


class StoreCorrupt(Exception):
    """Bytes that are not what they must be, or an object that must exist and does not: trying again does not help."""


class PreconditionFailed(Exception):
    """A write found something else than it was to replace; carries the key."""


class ObjectMissing(Exception):
    """There is no such object in the bucket; carries the key."""


def translated(error: Exception, *, bucket: str, key: str, endpoint: str) -> Exception:
    """Return what an exception of boto3 means here.

    Parameters
    ----------
    error : ClientError or BotoCoreError
    bucket, key, endpoint : str
        What was asked for, and of whom; named in the sentence.

    Returns
    -------
    StoreUnavailable, StoreRefused, DigestRefused, PreconditionFailed or ObjectMissing
    """
    if isinstance(error, ClientError):
        return _of_answer(error, bucket=bucket, key=key, endpoint=endpoint)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return StoreRefused(
            f"there are no credentials for S3 at {endpoint} ({_line(error)}); "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or a role that has them"
        )
    if isinstance(error, ParamValidationError):
        return StoreRefused(f"S3 has no such names as s3://{bucket}/{key}: {_line(error)}; choose others")
    return StoreUnavailable(
        f"S3 at {endpoint} cannot be reached ({type(error).__name__}); start it, or correct AWS_ENDPOINT_URL_S3"
    )


def _of_answer(error: ClientError, *, bucket: str, key: str, endpoint: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", "no code"))
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if code in _ABSENT:
        return ObjectMissing(key)
    if status == 412:
        return PreconditionFailed(key)
    what = f"S3 at {endpoint} answered {error.operation_name} of s3://{bucket}/{key} with {code} (HTTP {status})"
    if code in _WRONG_DIGEST:
        return DigestRefused(f"{what}; try again")
    passes = status >= 500 or status in _PASSING_STATUS or code in _PASSING
    if passes and not _is_unknown(code, status):
        return StoreUnavailable(f"{what}; try again")
    if code == "NoSuchBucket":
        return StoreRefused(f"S3 at {endpoint} has no bucket {bucket!r}; create it, or name another")
    return StoreRefused(f"{what}; {_remedy(code, status)}")


def _is_unknown(code: str, status: int) -> bool:
    return code == "NotImplemented" or status == 501


def _remedy(code: str, status: int) -> str:
    if _is_unknown(code, status):
        return "this server has no such operation: use one that has"
    if code in _BAD_CREDENTIALS:
        return "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if code in _BAD_REGION:
        return "set AWS_REGION to the region of the bucket"
    if status == 403:
        return "the credentials need to list this bucket, and to get and put its objects"
    return "check the bucket and the endpoint"


def _line(error: BotoCoreError) -> str:
    return " ".join(str(error).split())
