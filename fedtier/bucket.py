"""One S3 bucket of whole objects that are read, and written only under a condition.

With `fedtier.s3_client`, `fedtier.multipart` and `fedtier.bucket_errors`, all that knows boto3. Every write
names what it expects to replace: an ETag (``If-Match``), or nothing
(``If-None-Match: *``), so that no write is ever blind and a repeated one does no
harm. Nothing is used that AWS, MinIO and SeaweedFS do not all have.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from botocore.exceptions import BotoCoreError, ClientError

from fedtier.bucket_errors import (
    DigestRefused,
    ObjectMissing,
    PreconditionFailed,
    StoreCorrupt,
    translated,
)
from fedtier.multipart import MultipartUpload, part_size
from fedtier.s3_client import READ_SILENCE, WRITE_SILENCE, connect

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = [
    "BLOCK",
    "READ_SILENCE",
    "WRITE_SILENCE",
    "Bucket",
    "ObjectFacts",
    "StoredObject",
    "connect",
    "require_digest",
]

BLOCK: Final = 1 << 20
"""Bytes received at a time."""
DEFAULT_PART_BYTES: Final = 64 << 20
COPIED_PART_BYTES: Final = 128 << 20
"""Bytes that S3 copies in one request, which a slow disk does within `WRITE_SILENCE`, too."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A small object, read whole."""

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What is known of an object without its bytes; metadata keys are lower-case."""

    etag: str
    metadata: Mapping[str, str]


class Bucket:
    """Objects of one bucket. Safe for use by several threads at once, as its client is.

    Parameters
    ----------
    name : str
    client : S3Client
        From `connect`.
    patient : S3Client, optional
        The client that writes; by default it is the other one.
    part_bytes : int
        Files up to this size go up in one request, longer ones in parts of at least this size. S3 takes no part
        but the last under 5 MiB.

    Notes
    -----
    Every method raises `StoreUnavailable` when S3 cannot be used now, and its subclass `StoreRefused` when S3
    answers that it will not serve these settings.
    """

    def __init__(
        self,
        name: str,
        *,
        client: S3Client,
        patient: S3Client | None = None,
        part_bytes: int = DEFAULT_PART_BYTES,
    ) -> None:
        self.name = name
        self._part_bytes = part_bytes
        self._client = client
        self._writer = patient or client

    @property
    def endpoint(self) -> str:
        """The address of S3."""
        return self._client.meta.endpoint_url

    def url(self, key: str) -> str:
        """Return how a sentence names an object."""
        return f"s3://{self.name}/{key}"

    def get(self, key: str) -> StoredObject | None:
        """Return an object that fits in memory, or None where there is none."""
        try:
            with self._errors_translated(key):
                answer = self._client.get_object(Bucket=self.name, Key=key)
                with answer["Body"] as body:
                    return StoredObject(body.read(), answer["ETag"])
        except ObjectMissing:
            return None

    def facts(self, key: str) -> ObjectFacts | None:
        """Return what is known of an object, or None where there is none."""
        try:
            with self._errors_translated(key):
                answer = self._client.head_object(Bucket=self.name, Key=key)
        except ObjectMissing:
            return None
        return ObjectFacts(answer["ETag"], {name.lower(): value for name, value in answer["Metadata"].items()})

    def get_file(self, key: str, destination: Path, *, sha256: str) -> None:
        """Fetch an object into a file that appears only when it is complete and its digest verified.

        Raises
        ------
        ObjectMissing
        StoreCorrupt
            The object has another digest.
        OSError
            The file cannot be written.
        """
        descriptor, name = tempfile.mkstemp(prefix=f".{destination.name[:100]}.", dir=destination.parent)
        try:
            digest = hashlib.sha256()
            with os.fdopen(descriptor, "wb") as file:
                for block in self._blocks(key):
                    digest.update(block)
                    file.write(block)
            require_digest(self.url(key), digest.hexdigest(), sha256)
            Path(name).replace(destination)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def put(self, key: str, data: bytes, *, expected: str | None, metadata: Mapping[str, str] | None = None) -> str:
        """Write an object, given what it replaces.

        Parameters
        ----------
        key : str
        data : bytes
        expected : str or None
            ETag of the object to replace; None where there must be none.
        metadata : Mapping of str to str, optional

        Returns
        -------
        str
            The ETag that this write got.

        Raises
        ------
        PreconditionFailed
            Something else is there. After a lost reply it may be what this very call wrote.
        """
        return self._put(key, data, expected, metadata)

    def _put(
        self, key: str, body: bytes | BinaryIO, expected: str | None, metadata: Mapping[str, str] | None, **more: Any
    ) -> str:
        with self._conditionally(key):
            answer = self._writer.put_object(
                Bucket=self.name,
                Key=key,
                Body=body,
                Metadata=dict(metadata or {}),
                ContentType="application/json" if key.endswith(".json") else "application/octet-stream",
                **_condition(expected),
                **more,
            )
        return answer["ETag"]

    def put_file(
        self, key: str, path: Path, *, sha256: str, expected: str | None, metadata: Mapping[str, str] | None = None
    ) -> str:
        """Write a file as an object, given what it replaces, with no more of it in memory than one part of many.

        Parameters
        ----------
        key, expected, metadata
            As of `put`.
        path : Path
        sha256 : str
            Of the file, in hex.

        Returns
        -------
        str
            The ETag that this write got.

        Raises
        ------
        PreconditionFailed
            As `put`.
        StoreCorrupt
            The file has another digest; nothing was written.
        """
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= self._part_bytes:
                body = file if size > BLOCK else file.read()  # which needs no asking whether it may come
                try:
                    return self._put(key, body, expected, metadata, ChecksumSHA256=_base64(sha256))
                except DigestRefused:  # the file's fault, or that of the way
                    file.seek(0)
                    require_digest(str(path), hashlib.file_digest(file, "sha256").hexdigest(), sha256)
                    raise
            with (
                self._conditionally(key),
                MultipartUpload(self._writer, self.name, key, metadata or {}) as upload,
            ):
                require_digest(str(path), upload.send(file, part_size(size, self._part_bytes)), sha256)
                return upload.complete(_condition(expected))

    def copy(
        self, source: str, key: str, size: int, *, expected: str | None, metadata: Mapping[str, str] | None = None
    ) -> str:
        """Make an object the copy of another, inside S3, given what it replaces.

        Parts are copied, and become the object in one step that is conditional everywhere; a copy in one request
        is so on some servers only, and the others would write it blindly.

        Parameters
        ----------
        source : str
            Key of the other object.
        key, expected, metadata
            As of `put`.
        size : int
            Bytes of the other object.

        Returns
        -------
        str
            The ETag that this write got.

        Raises
        ------
        PreconditionFailed
            As `put`.
        ObjectMissing
            There is no such source.
        StoreRefused
            Among others: this server copies no parts.
        """
        with (
            self._errors_translated(key),
            MultipartUpload(self._writer, self.name, key, metadata or {}) as upload,
        ):
            with self._errors_translated(source):
                upload.copy(source, size, part_size(size, COPIED_PART_BYTES))
            with self._conditionally(key):
                return upload.complete(_condition(expected))

    def presign(self, key: str, seconds: int) -> str:
        """Return a URL with which anyone can read the object for so long."""
        with self._errors_translated(key):
            return self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self.name, "Key": key}, ExpiresIn=seconds
            )

    def _blocks(self, key: str) -> Iterator[bytes]:
        with self._errors_translated(key):
            body = self._client.get_object(Bucket=self.name, Key=key)["Body"]
        with body:
            while True:
                with self._errors_translated(key):
                    block = body.read(BLOCK)
                if not block:
                    return
                yield block

    @contextmanager
    def _conditionally(self, key: str) -> Iterator[None]:
        try:
            with self._errors_translated(key):
                yield
        except ObjectMissing:  # AWS answers 404, not 412, where If-Match finds no object at all
            raise PreconditionFailed(key) from None

    @contextmanager
    def _errors_translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise translated(error, bucket=self.name, key=key, endpoint=self._client.meta.endpoint_url) from error


def require_digest(what: str, seen: str, wanted: str) -> None:
    """Raise `StoreCorrupt` unless the SHA-256 of something is what it must be."""
    if seen != wanted:
        raise StoreCorrupt(f"{what} has the SHA-256 {seen}, not {wanted}; it is not used")


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def _condition(expected: str | None) -> dict[str, Any]:
    return {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
