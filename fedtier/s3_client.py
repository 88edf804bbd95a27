"""How a connection to S3 is made: the standard AWS settings, patience, and what is signed."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

import boto3
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from fedtier.problems import StartupError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

READ_SILENCE: Final = 10.0
"""Seconds. Short: a server that hangs is told of as late as all tries take, and keeps whoever asked waiting as long."""
WRITE_SILENCE: Final = 60.0
"""Seconds in which a slow server may deal with a part that it was sent, or make an object of many."""

_USER: Final = re.compile(r"//\S*@")
"""User and password in a URL."""


def connect(
    *,
    endpoint: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    region: str | None = None,
    attempts: int = 2,
    silence: float = READ_SILENCE,
) -> S3Client:
    """Return a client; what is not given comes from the standard AWS variables, files and roles.

    Parameters
    ----------
    endpoint, access_key, secret_key, region : str, optional
    attempts : int
        Requests per call, the first included. Few: whoever calls tries again, and says meanwhile that it waits.
    silence : float
        Seconds without a byte of an answer after which a request has failed.

    Raises
    ------
    StartupError
        The settings name a profile that is missing, or an endpoint that is no URL or one with a password in it.
    """
    return _connect(_session(access_key, secret_key, region), endpoint, attempts, silence)


def connect_twice() -> tuple[S3Client, S3Client]:
    """Return a client that reads and one that writes, which is more patient; what both know of S3 is 13 MB, once.

    Raises
    ------
    StartupError
        As `connect`.
    """
    session = _session(None, None, None)
    return _connect(session, None, 2, READ_SILENCE), _connect(session, None, 2, WRITE_SILENCE)


def _session(access_key: str | None, secret_key: str | None, region: str | None) -> boto3.session.Session:
    try:
        return boto3.session.Session(
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            # boto3 alone reads AWS_DEFAULT_REGION only; the other AWS tools read AWS_REGION.
            region_name=region or os.environ.get("AWS_REGION") or None,
        )
    except (BotoCoreError, ValueError) as error:
        raise _unusable(error) from None


def _connect(session: boto3.session.Session, endpoint: str | None, attempts: int, silence: float) -> S3Client:
    config = Config(
        connect_timeout=5,
        read_timeout=silence,
        max_pool_connections=16,
        retries={"mode": "standard", "total_max_attempts": attempts},
        signature_version="s3v4",
        # Servers other than AWS know the CRC trailers that boto3 otherwise adds only in their newest versions.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        client = session.client("s3", endpoint_url=endpoint, config=config)
    except (BotoCoreError, ValueError) as error:
        raise _unusable(error) from None
    _require_no_user(client.meta.endpoint_url)
    client.meta.events.register("before-sign.s3.PutObject", _trust_checksum)
    return client


def _unusable(error: Exception) -> StartupError:
    return StartupError(
        f"the AWS settings do not work: {_USER.sub('//', str(error))}; "
        "check AWS_ENDPOINT_URL_S3, AWS_PROFILE and AWS_REGION"
    )


def _trust_checksum(request: AWSRequest, **_: object) -> None:
    """Sign the SHA-256 that goes along in a header, which S3 verifies, and not the body, which would be hashed anew."""
    if "x-amz-checksum-sha256" in request.headers:
        config = request.context["client_config"]
        request.context["client_config"] = config.merge(Config(s3={"payload_signing_enabled": False}))


def _require_no_user(endpoint: str) -> None:
    """Check that an endpoint can be named in sentences and in presigned URLs."""
    if _USER.search(endpoint):
        raise StartupError(
            f"the S3 endpoint {_USER.sub('//', endpoint)} is given with a user in front, which S3 does not use; "
            "leave it out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
