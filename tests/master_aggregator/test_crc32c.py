from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.crc32c import crc32c as reference

from master_aggregator.crc32c import crc32c


def test_the_check_value_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@given(st.binary(max_size=1200))
def test_any_bytes_have_the_crc_that_the_slow_way_gives(data: bytes) -> None:
    assert crc32c(data) == reference(data)
