"""Rounds with models, published one after another as a master would, without a master."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedtier.dtypes import Array
from fedtier.fields import sha256_hex
from fedtier.rounds import Head
from fedtier.store import PublishedRound, RoundStore
from fedtier.tensors import write_arrays
from tests.fedtier.published import initial_manifest, manifest_of

TASK_FILE = Path(__file__).with_name("class_task.py")
TASK = f"{TASK_FILE}:Steps"
ROWS = "0.5,0\n0.6,0\n1.5,1\n1.6,1\n2.5,2\n2.6,2\n"
"""Test data that the steps [1, 2] tell wholly right."""


def steps(first: float, second: float) -> dict[str, Array]:
    """Return a model of the task `Steps`."""
    return {"steps": np.array([first, second], np.float32)}


class Publisher:
    """Publishes the next round at each call."""

    def __init__(self, store: RoundStore, folder: Path) -> None:
        self.store = store
        self._folder = folder
        self._head: tuple[Head, str] | None = None

    def publish(self, arrays: Mapping[str, Array]) -> str:
        """Publish a model as the next round and return its SHA-256."""
        path = self._folder / "next.safetensors"
        with path.open("wb") as file:
            write_arrays(file, arrays)
        sha256 = sha256_hex(path.read_bytes())
        if self._head is None:
            number, etag, manifest = 0, None, initial_manifest(sha256)
        else:
            head, etag = self._head
            number = head.round + 1
            manifest = manifest_of(number, sha256, head.manifest_sha256)
        self.store.put_model(number, sha256, path)
        new = Head(round=number, manifest_sha256=self.store.put_manifest(number, manifest), attempt=number + 1)
        self._head = new, self.store.swap_head(new, etag, own_content_is_success=False)
        return sha256


def oldest_first(store: RoundStore) -> list[PublishedRound]:
    """Return all published rounds."""
    return list(store.history())[::-1]
