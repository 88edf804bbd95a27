from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from fedtier.hashed import HashedFile

LONG = bytes(range(256)) * 10_000


def test_what_is_written_is_hashed(tmp_path: Path) -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    with (tmp_path / "file").open("wb") as file:
        hashed = HashedFile(file)
        for data in (b"", b"short", LONG, numbers.data):
            assert hashed.write(data) == memoryview(data).nbytes

    written = (tmp_path / "file").read_bytes()
    assert written == b"short" + LONG + numbers.tobytes()
    assert hashed.sha256 == hashlib.sha256(written).hexdigest()


def test_what_lay_there_before_is_hashed_first(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(LONG)
    with path.open("ab") as file:
        hashed = HashedFile(file, path)
        hashed.write(b"more")

    assert hashed.sha256 == hashlib.sha256(LONG + b"more").hexdigest()
