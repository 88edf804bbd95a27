"""What passed on the ways: every update that was sent, as it was sent, and every 200 that a client was given."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.system.ways import Upload


@dataclass(frozen=True, slots=True)
class Promise:
    """A 200 on an update: it counts in that attempt, by that digest."""

    round: int
    attempt: int
    client_id: str
    sha256: str


class Ledger:
    """Keeps it, by round; a `tests.system.ways.Witness`.

    Parameters
    ----------
    folder : Path
        Updates are kept there, by their digest.
    round_begins : callable
        Is told of a round when its first upload has come, once, before that goes on; must not take its time.
    """

    def __init__(self, folder: Path, round_begins: Callable[[int], None] = lambda _: None) -> None:
        self._folder = folder
        self._round_begins = round_begins
        self._lock = threading.Lock()
        self._begun = 0
        self._sent: defaultdict[int, set[tuple[str, str]]] = defaultdict(set)
        self._promises: defaultdict[int, set[Promise]] = defaultdict(set)
        folder.mkdir(parents=True, exist_ok=True)

    def sees_upload(self, upload: Upload, body: bytes, sha256: str) -> None:
        with self._lock:
            # Whoever sends for a round before this one is late. A client that is started again and asks a worker that
            # lags behind may even have trained for it once more.
            is_late = upload.round < self._begun
            is_new = (upload.name, sha256) not in self._sent[upload.round]
            if upload.kind == "update" and is_new and not is_late:
                self._sent[upload.round].add((upload.name, sha256))
                self._path(sha256).write_bytes(body)
            begins = upload.round > self._begun
            self._begun = max(self._begun, upload.round)
        if begins:
            self._round_begins(upload.round)

    def sees_reply(self, upload: Upload, status: int, body: bytes) -> None:
        if upload.kind == "update" and status == 200:
            receipt = json.loads(body)
            promise = Promise(receipt["round"], receipt["attempt"], receipt["client_id"], receipt["sha256"])
            with self._lock:
                self._promises[promise.round].add(promise)

    def promises(self, round_number: int) -> set[Promise]:
        with self._lock:
            return set(self._promises[round_number])

    def digests(self, round_number: int) -> dict[str, set[str]]:
        """Return the digests of what was sent for a round, by client."""
        with self._lock:
            sent = set(self._sent[round_number])
        return {client: {sha256 for other, sha256 in sent if other == client} for client, _ in sent}

    def update_of_another(self, round_number: int, client_id: str) -> bytes | None:
        """Return what some other client sent for a round, if one did by now and nobody looked at the round."""
        with self._lock:
            others = sorted(item for item in self._sent[round_number] if item[0] != client_id)
            return self._path(others[0][1]).read_bytes() if others else None

    def body(self, sha256: str) -> bytes:
        return self._path(sha256).read_bytes()

    def forget_bodies(self, round_number: int) -> None:
        """Let go of the updates of a round that was looked at."""
        with self._lock:
            for _, sha256 in self._sent.pop(round_number, set()):
                self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.safetensors"
