"""S3 for a master with a real disk: the methods of `fedtier.store.RoundStore` that a master uses, over a folder."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from fedtier.dtypes import Array
from fedtier.exact import ExactSum
from fedtier.fields import sha256_hex
from fedtier.round_keys import RoundKeys
from fedtier.rounds import Head, InitialManifest, ModelDigest, RoundManifest, parse_manifest
from fedtier.store import HeadMoved, StoredHead
from fedtier.upstream import file_sha256
from master_aggregator.server_update import write_mean
from tests.model_checking.claims import Claims, Sum

Trained = Mapping[str, tuple[Mapping[str, Array], int]]
"""What clients trained, and from how many examples, by its digest."""


class StoredRounds:
    """A federation's rounds; `instant` is called before and after every write that a kill may part.

    Whatever head comes to name is compared with what it should be: the mean of the contributors' updates.
    """

    def __init__(
        self, folder: Path, initial: bytes, trained: Trained, claims: Claims, instant: Callable[[], None]
    ) -> None:
        self.keys = RoundKeys("model.safetensors")
        self._folder = folder
        self._trained = trained
        self._claims = claims
        self._instant = instant
        digest = ModelDigest(sha256=sha256_hex(initial), bytes=len(initial))
        self._path(digest.sha256).write_bytes(initial)
        manifest = InitialManifest(model=digest).to_json()
        self._manifests = {sha256_hex(manifest): manifest}
        self.head = Head(round=0, manifest_sha256=sha256_hex(manifest), attempt=1)

    def read_head(self) -> StoredHead:
        return StoredHead(self.head, _etag(self.head))

    def read_manifest(self, round_number: int, sha256: str) -> bytes:
        return self._manifests[sha256]

    def download_model(self, round_number: int, sha256: str, destination: Path) -> None:
        shutil.copyfile(self._path(sha256), destination)

    def put_model(self, round_number: int, sha256: str, path: Path) -> None:
        self._instant()
        assert file_sha256(path) == sha256, "the model is the one that the close record names"
        shutil.copyfile(path, self._path(sha256))
        self._instant()

    def put_manifest(self, round_number: int, data: bytes) -> str:
        self._claims.to_be_published(data)
        self._manifests[sha256_hex(data)] = data
        self._instant()
        return sha256_hex(data)

    def refresh_copy(self, round_number: int, sha256: str, path: Path) -> None:
        assert file_sha256(path) == sha256, "the copy is the published model"

    def swap_head(self, new: Head, expected: str | None, *, own_content_is_success: bool) -> str:
        self._instant()
        if expected != _etag(self.head):
            if own_content_is_success and new == self.head:
                return _etag(new)
            raise HeadMoved(self.read_head())
        old, self.head = self.head, new
        manifest = self._manifests[new.manifest_sha256]
        self._claims.head_moved(old, new, manifest, self._sum_in(manifest))
        self._instant()
        return _etag(new)

    def _sum_in(self, data: bytes) -> Sum:
        """Return the sum of a published model: that over its contributors, or none that anything can be said of."""
        manifest = parse_manifest(data)
        if not isinstance(manifest, RoundManifest):
            return Counter()
        total = ExactSum(manifest.sums)
        for contributor in manifest.contributors:
            total.fold(*self._trained[contributor.sha256])
        mean = write_mean(total, self._path(manifest.base.sha256), io.BytesIO())
        if mean.digest != manifest.model:
            return Counter()
        return Counter((contributor.client_id, contributor.sha256) for contributor in manifest.contributors)

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256


def _etag(head: Head) -> str:
    return sha256_hex(head.to_json())
