"""A federation's rounds in S3: models and manifests by their content, and the head that says which are published.

Models and manifests are content-addressed, so writing them twice does no harm and
orphans mean nothing. Only `Head` decides what is published; it moves by
compare-and-swap. How S3 is spoken to is `fedtier.bucket`'s business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fedtier.bucket import BLOCK, DEFAULT_PART_BYTES, Bucket, require_digest
from fedtier.bucket_errors import ObjectMissing, PreconditionFailed, StoreCorrupt, StoreRefused, StoreUnavailable
from fedtier.evaluations import Evaluation
from fedtier.fields import sha256_hex
from fedtier.header import read_header
from fedtier.problems import NotSafetensors, Problem, StartupError
from fedtier.round_keys import RoundKeys
from fedtier.rounds import Head, InitialManifest, Manifest, ModelDigest, parse_manifest
from fedtier.s3_client import connect_twice

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = [
    "HeadMoved",
    "PublishedRound",
    "RoundStore",
    "StoreCorrupt",
    "StoreRefused",
    "StoreUnavailable",
    "StoredHead",
]

ROUND_METADATA: Final = "fedtier-round"
"""Metadata key of the copy: the round it is of, in decimal."""
SHA256_METADATA: Final = "fedtier-sha256"
"""Metadata key of the copy: its SHA-256, in hex."""
_TRIES: Final = 10
LARGEST_SENT_AGAIN: Final = 8 << 20
"""Bytes up to which sending a model again costs less than having S3 copy it."""


@dataclass(frozen=True, slots=True)
class StoredHead:
    """The head and the ETag by which to replace it."""

    head: Head
    etag: str


@dataclass(frozen=True, slots=True)
class PublishedRound:
    """A round that head leads to."""

    round: int
    manifest_sha256: str
    manifest: Manifest


class HeadMoved(Exception):
    """The head is not what a swap expected; ``current`` is what it is now, or None when it is gone."""

    def __init__(self, current: StoredHead | None) -> None:
        super().__init__(f"head is now {'gone' if current is None else current.head.to_json().decode()}")
        self.current = current


class RoundStore:
    """What a federation has published. Safe for use by several threads at once.

    Endpoint, credentials, region and profile come from the standard AWS variables and files.

    Parameters
    ----------
    bucket : str
    bucket_key : str
        Key of the copy of the newest model, ``jobs/mnist.safetensors``; see `RoundKeys`.
    part_bytes : int
        Models up to this size go up in one request, longer ones in parts of at least this size (S3 wants
        5 MiB or more). So much is in memory at a time.
    client : S3Client, optional
        From `fedtier.bucket.connect`, for settings that are not the environment's.

    Raises
    ------
    StartupError
        The key or the AWS settings cannot be.

    Notes
    -----
    Every method raises `StoreUnavailable` when S3 cannot be used now, and `StoreCorrupt` when what it holds is
    not what it must be.
    """

    def __init__(
        self, bucket: str, bucket_key: str, *, part_bytes: int = DEFAULT_PART_BYTES, client: S3Client | None = None
    ) -> None:
        try:
            self.keys = RoundKeys(bucket_key)
        except ValueError as error:
            raise StartupError(str(error)) from None
        reader, writer = (client, client) if client else connect_twice()
        self._bucket = Bucket(bucket, client=reader, patient=writer, part_bytes=part_bytes)

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._bucket.name

    @property
    def endpoint(self) -> str:
        """The address of S3."""
        return self._bucket.endpoint

    def check(self) -> None:
        """Try to read the head, as a program does at its start.

        Raises
        ------
        StartupError
            S3 cannot be reached, refuses the credentials or has no such bucket, or what stands there is no head.
        """
        try:
            self.read_head()
        except (StoreUnavailable, StoreCorrupt) as error:
            raise StartupError(str(error)) from None

    def read_head(self) -> StoredHead | None:
        """Return the head, or None where nothing is published."""
        stored = self._bucket.get(self.keys.head)
        if stored is None:
            return None
        try:
            return StoredHead(Head.from_json(stored.data), stored.etag)
        except Problem as problem:
            raise StoreCorrupt(f"{self._bucket.url(self.keys.head)} is no head: {problem.detail}") from None

    def swap_head(self, new: Head, expected: str | None, *, own_content_is_success: bool) -> str:
        """Replace the head, if it is what the caller believes.

        Parameters
        ----------
        new : Head
        expected : str or None
            ETag of the head to replace; None where there must be none.
        own_content_is_success : bool
            A reply may get lost and the request be sent again, which then finds its own write in the way. True
            counts a head equal to `new` as that write: right for publishing, where the manifest's digest makes the
            content this attempt's alone. False does not: right for claiming an attempt, where a second master
            writes the same bytes.

        Returns
        -------
        str
            The ETag of the head that this call wrote.

        Raises
        ------
        HeadMoved
            The head is another; nothing was written, unless `own_content_is_success` is False and a reply got lost.
        """
        try:
            return self._bucket.put(self.keys.head, new.to_json(), expected=expected)
        except PreconditionFailed:
            current = self.read_head()
        if own_content_is_success and current is not None and current.head == new:
            return current.etag
        raise HeadMoved(current)

    def put_model(self, round_number: int, sha256: str, path: Path) -> None:
        """Write a round's model, unless it is there.

        Raises
        ------
        StoreCorrupt
            The file has another digest; nothing was written.
        """
        key = self.keys.model(round_number, sha256)
        # Asked for first whatever its size: a question tells in seconds that S3 hangs, a write is waited for longer.
        if self._bucket.facts(key) is not None:
            return
        try:
            self._bucket.put_file(key, path, sha256=sha256, expected=None)
        except PreconditionFailed:
            return  # somebody wrote the same bytes meanwhile, or an earlier request of ours did

    def put_manifest(self, round_number: int, data: bytes) -> str:
        """Write a round's manifest, unless it is there, and return its SHA-256 in hex."""
        sha256 = sha256_hex(data)
        try:
            self._bucket.put(self.keys.manifest(round_number, sha256), data, expected=None)
        except PreconditionFailed:
            return sha256
        return sha256

    def read_manifest(self, round_number: int, sha256: str) -> bytes:
        """Return the bytes of a manifest that must exist, their digest verified."""
        key = self.keys.manifest(round_number, sha256)
        stored = self._bucket.get(key)
        if stored is None:
            raise self._missing(key)
        require_digest(self._bucket.url(key), sha256_hex(stored.data), sha256)
        return stored.data

    def read_evaluation(self, round_number: int, model_sha256: str) -> Evaluation | None:
        """Return what a round's model did on test data, or None where nobody tested it."""
        key = self.keys.evaluation(round_number, model_sha256)
        stored = self._bucket.get(key)
        if stored is None:
            return None
        try:
            evaluation = Evaluation.from_json(stored.data)
        except Problem as problem:
            raise StoreCorrupt(f"{self._bucket.url(key)} is no evaluation: {problem.detail}") from None
        if (evaluation.round, evaluation.model_sha256) != (round_number, model_sha256):
            raise StoreCorrupt(f"{self._bucket.url(key)} is the evaluation of another model")
        return evaluation

    def put_evaluation(self, evaluation: Evaluation) -> None:
        """Write what a round's model did on test data, in place of what stands there; the last writer wins."""
        key = self.keys.evaluation(evaluation.round, evaluation.model_sha256)
        data = evaluation.to_json()
        for _ in range(_TRIES):
            facts = self._bucket.facts(key)
            try:
                self._bucket.put(key, data, expected=None if facts is None else facts.etag)
            except PreconditionFailed:
                continue  # another evaluation came between
            return
        raise StoreUnavailable(f"{self._bucket.url(key)} keeps changing under our writes; try again")

    def history(self) -> Iterator[PublishedRound]:
        """Yield the published rounds, newest first, by following each manifest to its predecessor."""
        stored = self.read_head()
        if stored is not None:
            yield from self._history_of(stored.head)

    def download_model(self, round_number: int, sha256: str, destination: Path) -> None:
        """Fetch a model that must exist into a file that appears only when it is complete and verified.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        key = self.keys.model(round_number, sha256)
        try:
            self._bucket.get_file(key, destination, sha256=sha256)
        except ObjectMissing:
            raise self._missing(key) from None

    def download_copy(self, sha256: str, destination: Path) -> None:
        """Fetch the copy at the bucket key into a file that appears only when it has this SHA-256.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        try:
            self._bucket.get_file(self.keys.copy, destination, sha256=sha256)
        except ObjectMissing:
            raise StoreCorrupt(f"{self._bucket.url(self.keys.copy)} is missing") from None

    def copied(self) -> tuple[int, str] | None:
        """Return of which round the copy at the bucket key says that it is, and its SHA-256, or None."""
        facts = self._bucket.facts(self.keys.copy)
        said = {} if facts is None else facts.metadata
        number, sha256 = said.get(ROUND_METADATA, ""), said.get(SHA256_METADATA, "")
        return (int(number), sha256) if number.isdecimal() else None

    def presign_model(self, round_number: int, sha256: str, seconds: int) -> str:
        """Return a URL at which anyone can read a model for so many seconds, without credentials."""
        return self._bucket.presign(self.keys.model(round_number, sha256), seconds)

    def publish_initial(self, model: Path) -> StoredHead:
        """Publish round 0, or make sure that round 0 is this model.

        Parameters
        ----------
        model : Path
            A safetensors file.

        Returns
        -------
        StoredHead
            The head as it is now: of round 0 and attempt 1, or of a later round.

        Raises
        ------
        StartupError
            The file cannot be read, or round 0 is another model.
        """
        digest = _digest_of(model)
        manifest = InitialManifest(model=digest).to_json()
        current = self.read_head()
        if current is None:
            self.put_model(0, digest.sha256, model)
            head = Head(round=0, manifest_sha256=self.put_manifest(0, manifest), attempt=1)
            try:
                return StoredHead(head, self.swap_head(head, None, own_content_is_success=True))
            except HeadMoved as moved:
                current = moved.current
        if current is None:
            raise StoreUnavailable(
                f"{self._bucket.url(self.keys.head)} came and went while round 0 was published; try again"
            )
        for published in self._history_of(current.head):
            if published.round == 0 and published.manifest.model.sha256 != digest.sha256:
                raise StartupError(
                    f"the initial model at {self._bucket.url(self.keys.prefix)} has the SHA-256 "
                    f"{published.manifest.model.sha256}, but {model} has {digest.sha256}; "
                    "leave the model out to go on with what is published, or choose another bucket key"
                )
        return current

    def refresh_copy(self, round_number: int, sha256: str, path: Path) -> None:
        """Make the copy at the bucket key a published round's model, unless it is of this round or a newer one.

        A large one is copied inside S3, where the round's model lies; else `path` is sent.

        Raises
        ------
        StoreCorrupt
            The file has another digest; nothing was written.
        """
        for _ in range(_TRIES):
            facts = self._bucket.facts(self.keys.copy)
            if facts is not None and _serves(facts.metadata, round_number, sha256):
                return
            try:
                self._write_copy(round_number, sha256, path, None if facts is None else facts.etag)
            except PreconditionFailed:
                stored = self.read_head()
                if stored is not None and stored.head.round > round_number:
                    return
            else:
                return
        raise StoreUnavailable(f"{self._bucket.url(self.keys.copy)} keeps changing under our writes; try again")

    def _write_copy(self, round_number: int, sha256: str, path: Path, expected: str | None) -> None:
        source, size = self.keys.model(round_number, sha256), path.stat().st_size
        metadata = {ROUND_METADATA: str(round_number), SHA256_METADATA: sha256}
        if size > LARGEST_SENT_AGAIN:
            try:
                self._bucket.copy(source, self.keys.copy, size, expected=expected, metadata=metadata)
            except (ObjectMissing, StoreRefused):  # not every server that is called S3 copies parts
                pass
            else:
                return
        self._bucket.put_file(self.keys.copy, path, sha256=sha256, expected=expected, metadata=metadata)

    def _history_of(self, head: Head) -> Iterator[PublishedRound]:
        round_number, sha256 = head.round, head.manifest_sha256
        while True:
            key = self.keys.manifest(round_number, sha256)
            data = self.read_manifest(round_number, sha256)
            try:
                manifest = parse_manifest(data)
            except Problem as problem:
                raise StoreCorrupt(f"{self._bucket.url(key)}: {problem.detail}") from None
            if manifest.round != round_number:
                raise StoreCorrupt(f"{self._bucket.url(key)} is the manifest of round {manifest.round}")
            yield PublishedRound(round_number, sha256, manifest)
            if manifest.previous is None:
                return
            round_number, sha256 = manifest.previous.round, manifest.previous.manifest_sha256

    def _missing(self, key: str) -> StoreCorrupt:
        return StoreCorrupt(
            f"{self._bucket.url(key)} is missing, though it is published; restore it, or use another bucket key"
        )


def _serves(metadata: Mapping[str, str], round_number: int, sha256: str) -> bool:
    copied = metadata.get(ROUND_METADATA, "")
    if copied == str(round_number):
        return metadata.get(SHA256_METADATA) == sha256
    return copied.isdecimal() and int(copied) > round_number


def _digest_of(model: Path) -> ModelDigest:
    digest = hashlib.sha256()
    try:
        with model.open("rb") as file:
            read_header(file)
            file.seek(0)
            while block := file.read(BLOCK):
                digest.update(block)
            return ModelDigest(sha256=digest.hexdigest(), bytes=file.tell())
    except OSError as error:
        raise StartupError(f"the model {model} cannot be read ({error.strerror}); name a file that can") from None
    except NotSafetensors as problem:
        raise StartupError(f"the model {model} is {problem.detail}; name a safetensors file") from None
