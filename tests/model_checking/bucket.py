"""A simulated S3 with the methods of `fedtier.store.RoundStore` that decide what is published.

Objects named by their content are written at once. Head is one cell with compare-and-swap, and the one request that
writes it may fail in every way in which a request can.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final, Literal, TypeAlias

from fedtier.fields import sha256_hex
from fedtier.rounds import Head, InitialManifest, ModelDigest, parse_manifest
from fedtier.store import HeadMoved, StoredHead, StoreUnavailable
from tests.model_checking.claims import Claims, Sum
from tests.model_checking.network import Step

Fault: TypeAlias = Literal["away", "answer lost", "sent twice", "late"]
FAULTS: Final[tuple[Fault, ...]] = ("away", "answer lost", "sent twice", "late")
"""What may become of a request: it does not arrive; its answer does not; it is sent again within the same call
because its answer did not; it arrives after nobody waits for it any more."""


class SimulatedBucket:
    """A federation's rounds in S3; begins with round 0."""

    def __init__(self, claims: Claims) -> None:
        model = sha256_hex(b"initial")
        manifest = InitialManifest(model=ModelDigest(sha256=model, bytes=1)).to_json()
        self.fault: Fault | None = None
        self.late: list[tuple[Head, str]] = []
        self._claims = claims
        self._models: dict[str, Sum] = {model: Sum()}
        self._manifests = {sha256_hex(manifest): manifest}
        self._head = Head(round=0, manifest_sha256=sha256_hex(manifest), attempt=1)

    @property
    def head(self) -> Head:
        """What stands there, for those who look from outside."""
        return self._head

    @property
    def _etag(self) -> str:
        # S3's is a digest of the content too.
        return sha256_hex(self._head.to_json())

    def steps(self) -> Iterable[Step]:
        for new, expected in self.late:
            yield "a late write of head arrives", partial(self._arrive, new, expected)

    def read_head(self) -> StoredHead:
        if self._take_fault() is not None:
            raise StoreUnavailable("no answer")
        return StoredHead(self._head, self._etag)

    def read_manifest(self, sha256: str) -> bytes:
        return self._manifests[sha256]

    def put_model(self, sha256: str, total: Sum) -> None:
        self._models[sha256] = total.copy()

    def put_manifest(self, data: bytes) -> None:
        self._claims.to_be_published(data)
        self._manifests[sha256_hex(data)] = data

    def swap_head(self, new: Head, expected: str, *, own_content_is_success: bool) -> str:
        fault = self._take_fault()
        if fault == "away":
            raise StoreUnavailable("no answer")
        if fault == "late":
            self.late.append((new, expected))
            raise StoreUnavailable("no answer")
        swapped = self._swap(new, expected)
        if fault == "answer lost":
            raise StoreUnavailable("no answer")
        if swapped and fault != "sent twice":
            return self._etag
        if own_content_is_success and self._head == new:
            return self._etag
        raise HeadMoved(StoredHead(self._head, self._etag))

    def _swap(self, new: Head, expected: str) -> bool:
        if expected != self._etag:
            return False
        old, self._head = self._head, new
        manifest = self._manifests[new.manifest_sha256]
        self._claims.head_moved(old, new, manifest, self._models[parse_manifest(manifest).model.sha256])
        return True

    def _arrive(self, new: Head, expected: str) -> None:
        self.late.remove((new, expected))
        self._swap(new, expected)

    def _take_fault(self) -> Fault | None:
        fault, self.fault = self.fault, None
        return fault
