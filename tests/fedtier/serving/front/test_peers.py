"""By what connections are counted."""

from __future__ import annotations

import pytest

from fedtier.serving.front.peers import address_of


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.1", 4000), "192.0.2.1"),
        (("::ffff:192.0.2.1", 4000, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 4000, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::1", 4000, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:3::1", 4000, 0, 0), "2001:db8:1:3::/64"),
        (("fe80::1%eth0", 4000, 0, 2), "fe80::/64"),
        ("", ""),
    ],
)
def test_connections_are_counted_by_address_and_by_site_where_a_host_has_many(client: object, address: str) -> None:
    assert address_of(client) == address
