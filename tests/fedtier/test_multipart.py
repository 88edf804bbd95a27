from __future__ import annotations

import pytest

from fedtier.multipart import MAX_PARTS, part_size

MIB = 1 << 20


@pytest.mark.parametrize("size", [1, 64 * MIB, 625_000 * MIB, 640_000 * MIB, 640_000 * MIB + 1, 5_000_000 * MIB])
def test_parts_are_never_too_many_and_grow_only_where_they_would_be(size: int) -> None:
    part = part_size(size, 64 * MIB)
    assert -(-size // part) <= MAX_PARTS
    assert (part == 64 * MIB) == (size <= MAX_PARTS * 64 * MIB)
