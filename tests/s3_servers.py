"""The S3 servers that tests run against: a given one, MinIO where it is installed, else SeaweedFS."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fedtier.bucket import Bucket, connect
from fedtier.bucket_errors import StoreRefused, StoreUnavailable
from fedtier_cli.seaweed import HOST, REGION, Seaweed, free_ports

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

BUCKET = "fedtier-test"


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server: the AWS variables by which any program finds it, a bucket that exists, and a client.

    The client is one for all tests of a process: to make another costs more than most of them.
    """

    environment: Mapping[str, str]
    bucket: str
    client: S3Client = field(repr=False)

    @classmethod
    def found_by(cls, environment: Mapping[str, str], bucket: str) -> S3Server:
        client = connect(
            endpoint=environment["AWS_ENDPOINT_URL_S3"],
            access_key=environment["AWS_ACCESS_KEY_ID"],
            secret_key=environment["AWS_SECRET_ACCESS_KEY"],
            region=environment["AWS_REGION"],
        )
        return cls(environment, bucket, client)

    def by(self, endpoint: str) -> S3Server:
        """Return it as who comes by another way finds it."""
        return self.found_by({**self.environment, "AWS_ENDPOINT_URL_S3": endpoint}, self.bucket)

    @property
    def endpoint(self) -> str:
        return self.environment["AWS_ENDPOINT_URL_S3"]


@contextlib.contextmanager
def running_server(directory: Path) -> Iterator[S3Server]:
    """Yield `FEDTIER_TEST_S3_ENDPOINT` with the AWS keys of the environment, or a server of our own."""
    if endpoint := os.environ.get("FEDTIER_TEST_S3_ENDPOINT"):
        keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        yield _with_bucket(endpoint, *keys, bucket=os.environ.get("FEDTIER_TEST_S3_BUCKET", BUCKET))
    elif minio := shutil.which("minio"):
        with _minio(minio, directory) as server:
            yield server
    else:
        with Seaweed(directory / "seaweed", bucket=BUCKET, log=directory / "seaweed.log") as seaweed:
            yield S3Server.found_by(seaweed.environment(), BUCKET)


@contextlib.contextmanager
def _minio(program: str, directory: Path) -> Iterator[S3Server]:
    api, console = free_ports(2)
    access, secret = "fedtier-test", secrets.token_urlsafe(24)
    with (
        (directory / "minio.log").open("wb") as log,
        subprocess.Popen(
            [
                *(program, "server", str(directory / "minio")),
                *("--address", f"{HOST}:{api}", "--console-address", f"{HOST}:{console}"),
            ],
            env=os.environ | {"MINIO_ROOT_USER": access, "MINIO_ROOT_PASSWORD": secret, "MINIO_UPDATE": "off"},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield _with_bucket(f"http://{HOST}:{api}", access, secret, bucket=BUCKET, process=process)
        finally:
            process.terminate()


def _with_bucket(
    endpoint: str, access: str, secret: str, *, bucket: str, process: subprocess.Popen[bytes] | None = None
) -> S3Server:
    client = connect(endpoint=endpoint, access_key=access, secret_key=secret, region=REGION, attempts=1)
    deadline = time.monotonic() + 60
    while True:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the S3 server ended with status {process.returncode}")
        try:
            Bucket(bucket, client=client).get("any")
            break
        except StoreRefused:
            client.create_bucket(Bucket=bucket)
        except StoreUnavailable:
            if process is None or time.monotonic() > deadline:
                raise
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
    environment = {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return S3Server.found_by(environment, bucket)
