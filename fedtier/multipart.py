"""A large S3 object: sent, or copied from another, in parts, which become the object in one conditional step."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from botocore.exceptions import BotoCoreError, ClientError

from fedtier.bucket_errors import StoreRefused

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

MAX_PARTS: Final = 10_000
"""Most parts of one upload (Amazon S3 User Guide, "Amazon S3 multipart upload limits")."""


def part_size(size: int, smallest: int) -> int:
    """Return how long the parts of `size` bytes are: `smallest`, or more where they would be over `MAX_PARTS`."""
    return max(smallest, -(-size // MAX_PARTS))


class MultipartUpload:
    """One upload; leaving its `with` block without `complete` having succeeded aborts it.

    Methods raise what boto3 raises, unless they say more.

    Parameters
    ----------
    client : S3Client
    bucket, key : str
    metadata : Mapping of str to str
    """

    def __init__(self, client: S3Client, bucket: str, key: str, metadata: Mapping[str, str]) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._metadata = dict(metadata)
        self._upload_id = ""
        self._parts: list[CompletedPartTypeDef] = []

    def __enter__(self) -> MultipartUpload:
        answer = self._client.create_multipart_upload(
            Bucket=self._bucket, Key=self._key, Metadata=self._metadata, ContentType="application/octet-stream"
        )
        self._upload_id = answer["UploadId"]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        # S3 keeps, and bills, the parts of an upload that is never ended. What made us abort is what the caller
        # has to hear, so a failure to abort stays silent.
        with contextlib.suppress(BotoCoreError, ClientError):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)

    def send(self, file: BinaryIO, part_bytes: int) -> str:
        """Send the rest of a file with one part of it in memory at a time, and return its SHA-256 in hex."""
        digest = hashlib.sha256()
        while self._send_part(file.read(part_bytes), digest):
            pass
        return digest.hexdigest()

    def _send_part(self, data: bytes, digest: hashlib._Hash) -> bool:
        # A function of its own, so that no variable keeps one part while the next is read.
        if not data:
            return False
        digest.update(data)
        number = len(self._parts) + 1
        answer = self._client.upload_part(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, PartNumber=number, Body=data
        )
        self._parts.append({"ETag": answer["ETag"], "PartNumber": number})
        return True

    def copy(self, source: str, size: int, part_bytes: int) -> None:
        """Take the parts from another object of the bucket, of so many bytes, which S3 reads by itself.

        Raises
        ------
        StoreRefused
            The server answers as if it had taken a part that was sent: it does not copy.
        """
        for number, start in enumerate(range(0, size, part_bytes), 1):
            answer = self._client.upload_part_copy(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._upload_id,
                PartNumber=number,
                CopySource={"Bucket": self._bucket, "Key": source},
                CopySourceRange=f"bytes={start}-{min(start + part_bytes, size) - 1}",
            )
            copied = answer.get("CopyPartResult", {}).get("ETag")
            if copied is None:
                raise StoreRefused(f"S3 does not say that it copied part {number} of s3://{self._bucket}/{source}")
            self._parts.append({"ETag": copied, "PartNumber": number})

    def complete(self, condition: Mapping[str, Any]) -> str:
        """Make the parts the object under `IfMatch` or `IfNoneMatch`, and return its ETag."""
        answer = self._client.complete_multipart_upload(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._upload_id,
            MultipartUpload={"Parts": self._parts},
            **condition,
        )
        return answer["ETag"]
