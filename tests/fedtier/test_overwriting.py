from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fedtier.overwriting import overwritten

OLD = b"o" * 100_000


@pytest.mark.parametrize("length", [0, 1, 99_999, 100_000, 100_001])
def test_a_file_ends_where_it_was_written_to(tmp_path: Path, length: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with overwritten(path) as file:
        file.write(b"n" * length)
    assert path.read_bytes() == b"n" * length


def test_what_lies_there_is_written_over_and_not_replaced(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(OLD)
    other.hardlink_to(path)
    with overwritten(path) as file:
        file.write(b"new")
    assert other.read_bytes() == b"new"


def test_a_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with overwritten(tmp_path / "file") as file:
        file.write(b"new")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(OLD)
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"), overwritten(tmp_path / "link"):
        pass
    assert target.read_bytes() == OLD
