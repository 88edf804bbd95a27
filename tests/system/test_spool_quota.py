"""The spool of an aggregator takes no more than it may, and a round gets on all the same."""

from __future__ import annotations

import pytest

from tests.system.federation import Federation
from tests.system.updates import TenUpdates, send_at_once
from tests.system.uploads import assert_unavailable, half_an_upload, put

pytestmark = pytest.mark.system


def test_an_upload_beyond_the_quota_is_put_off_while_the_server_stays_ready(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    first, second, *_ = ten_updates.updates
    largest, taken = max(update.path.stat().st_size for update in ten_updates.updates), first.path.stat().st_size
    master = federation.master(ten_updates.model, "--threshold", "10", "--spool-max", str(largest))
    with half_an_upload(master, first):
        assert_unavailable(put(master, second), f"the spool is full: {taken} of {largest} bytes")
        assert master.is_ready()
    master.process.wait_until(lambda: not list((master.state_dir / "spool").iterdir()), "what broke off is gone")
    assert put(master, first).status_code == 200

    master.restart()
    assert put(master, second).status_code == 200, "what lies in the journal is in the spool no more"


def test_ten_clients_complete_their_round_through_a_spool_for_two(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    largest = max(update.path.stat().st_size for update in ten_updates.updates)
    master = federation.master(ten_updates.model, "--threshold", "10")
    worker = federation.worker("worker", "--spool-max", str(2 * largest), upstream=master.url)
    receipts = send_at_once([(worker.url, update) for update in ten_updates.updates], 1)
    assert ten_updates.are_exactly_in(master.published(1)), receipts
