"""A look at what was published, from S3 alone and what passed on the ways; it shares no code with fedtier's sums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fedtier.bucket import Bucket
from tests.reference import Tensor, round_model
from tests.system.ledger import Ledger, Promise


class Broken(AssertionError):
    """A promise was broken."""


class Audit:
    """Looks at round after round.

    Parameters
    ----------
    bucket : Bucket
    prefix : str
        Of the federation's keys.
    ledger : Ledger
    """

    def __init__(self, bucket: Bucket, prefix: str, ledger: Ledger) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._ledger = ledger
        self._rivals: set[tuple[int, str]] = set()
        self._looked_at = 0
        self._manifests: dict[int, str] = {}
        self._model: str | None = None
        self._counted: dict[int, tuple[int, dict[str, str]]] = {}

    @property
    def rounds(self) -> int:
        """How many rounds were looked at: all from the first on."""
        return self._looked_at

    @property
    def attempts_lost(self) -> int:
        """How many attempts came to nothing: one is opened with each published round."""
        return max((attempt - number - 1 for number, (attempt, _) in self._counted.items()), default=0)

    def allow_rival(self, round_number: int, client_id: str) -> None:
        """Somebody else sends as this client in this round."""
        self._rivals.add((round_number, client_id))

    def look(self, *, up_to: int) -> None:
        """Look at every published round that was not looked at, up to one of them.

        Raises
        ------
        Broken
        """
        head = json.loads(self._fetch("head.json"))
        manifests: list[tuple[str, dict[str, Any]]] = []
        number, sha256 = head["round"], head["manifest_sha256"]
        while number > self._looked_at:
            data = self._fetch(f"rounds/{number:06d}/manifest-{sha256}.json")
            _require(hashlib.sha256(data).hexdigest() == sha256, f"round {number}: its manifest is another one")
            manifest = json.loads(data)
            _require(manifest["round"] == number, f"round {number}: its manifest is of {manifest['round']}")
            manifests.append((sha256, manifest))
            _require(manifest["previous"]["round"] == number - 1, f"round {number} does not follow {number - 1}")
            number, sha256 = manifest["previous"]["round"], manifest["previous"]["manifest_sha256"]
        known = self._manifests.get(number, sha256)
        _require(number == self._looked_at or number in self._manifests, f"head went back to round {number}")
        _require(known == sha256, f"round {number} was {known}, and now is {sha256}")
        for digest, manifest in reversed(manifests):
            if manifest["round"] <= up_to:
                self._look_at(manifest)
                self._manifests[manifest["round"]] = digest
                self._model = manifest["model"]["sha256"]

    def look_at_promises(self) -> int:
        """Check every 200 that any client was given; return how many there were."""
        promises = [p for number in range(1, self._looked_at + 1) for p in self._ledger.promises(number)]
        for promise in promises:
            self._check(promise)
        return len(promises)

    def _look_at(self, manifest: Mapping[str, Any]) -> None:
        number = manifest["round"]
        contributors = manifest["contributors"]
        ids = [contributor["client_id"] for contributor in contributors]
        _require(ids == sorted(set(ids)), f"round {number} lists {ids}")
        _require(len(ids) >= min(manifest["min_clients"], manifest["threshold"]), f"round {number} has only {ids}")
        self._check_digests(number, {c["client_id"]: c["sha256"] for c in contributors})
        self._check_model(manifest)
        self._counted[number] = manifest["attempt"], {c["client_id"]: c["sha256"] for c in contributors}
        self._looked_at = number
        for promise in self._ledger.promises(number):
            self._check(promise)
        self._ledger.forget_bodies(number)

    def _check_digests(self, number: int, counted: Mapping[str, str]) -> None:
        sent = self._ledger.digests(number)
        for client_id, sha256 in counted.items():
            _require(sha256 in sent.get(client_id, ()), f"round {number}: {client_id} never sent what is counted")
        for client_id, digests in sent.items():
            again = len(digests) > 1 and (number, client_id) not in self._rivals
            _require(not again, f"round {number}: {client_id} trained twice: {sorted(digests)}")

    def _check_model(self, manifest: Mapping[str, Any]) -> None:
        number, sha256 = manifest["round"], manifest["model"]["sha256"]
        _require(
            self._model in (None, manifest["base"]["sha256"]),
            f"round {number} starts from {manifest['base']['sha256']}",
        )
        base = self._fetch(f"rounds/{number - 1:06d}/model-{manifest['base']['sha256']}.safetensors")
        updates, weights = [], []
        for contributor in manifest["contributors"]:
            tensors, metadata = parse(self._ledger.body(contributor["sha256"]))
            _require(
                metadata["num_examples"] == str(contributor["num_examples"]),
                f"round {number}: {contributor} has not the weight that it sent",
            )
            updates.append((tensors, contributor["num_examples"]))
            weights.append(contributor["num_examples"])
        _require(sum(weights) == manifest["total_examples"], f"round {number}: its examples do not add up")
        model = round_model(list(parse(base)[0].items()), updates, manifest["weight_limit"])
        _require(hashlib.sha256(model).hexdigest() == sha256, f"round {number}: its model has other bytes")
        published = self._fetch(f"rounds/{number:06d}/model-{sha256}.safetensors")
        _require(published == model, f"round {number}: S3 has other bytes than its manifest says")

    def _check(self, promise: Promise) -> None:
        attempt, counted = self._counted[promise.round]
        _require(promise.attempt <= attempt, f"{promise} is of an attempt after the published one, {attempt}")
        if promise.attempt == attempt:
            _require(counted.get(promise.client_id) == promise.sha256, f"{promise}, but the manifest has {counted}")

    def _fetch(self, name: str) -> bytes:
        stored = self._bucket.get(f"{self._prefix}/{name}")
        if stored is None:
            raise Broken(f"{name} is missing in S3")
        return stored.data


def parse(file: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Take a safetensors file apart."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    data = file[8 + length :]
    tensors = {
        name: Tensor(spec["dtype"], tuple(spec["shape"]), data[slice(*spec["data_offsets"])])
        for name, spec in header.items()
    }
    return tensors, metadata


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)
