"""An aggregator whose state directory is removed under it promises nothing more: it ends, and starts anew."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable

import pytest
import requests

from tests.s3_servers import S3Server
from tests.system.endings import ending_of
from tests.system.federation import PATIENCE, Aggregator, Federation
from tests.system.updates import TenUpdates, Update
from tests.system.uploads import put, put_all

pytestmark = pytest.mark.system


def upload(aggregator: Aggregator, update: Update) -> requests.Response:
    return put(aggregator, update)


def ask_whether_it_is_ready(aggregator: Aggregator, _: Update) -> requests.Response:
    return aggregator.get("/readyz")


def close_the_round(aggregator: Aggregator, _: Update) -> requests.Response:
    return requests.post(f"{aggregator.url}/v1/rounds/1/close", timeout=PATIENCE)


@pytest.mark.parametrize(
    ("removed", "notice"),
    [(".", upload), (".", ask_whether_it_is_ready), (".", close_the_round), ("round-000001-attempt-2", upload)],
)
def test_a_master_whose_folder_is_removed_ends_and_starts_a_new_attempt(
    removed: str,
    notice: Callable[[Aggregator, Update], requests.Response],
    federation: Federation,
    ten_updates: TenUpdates,
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--no-tensorboard")
    *most, last = ten_updates.updates
    put_all(master, most)

    shutil.rmtree(master.state_dir / removed)
    with contextlib.suppress(requests.ConnectionError):
        answer = notice(master, last)
        assert answer.status_code == 503 or notice is close_the_round, answer.text  # it is closed, and not published

    ending = ending_of(master)
    assert str(master.state_dir / removed) in ending.sentence
    assert "was removed" in ending.sentence
    if notice is upload:
        master.start()
        assert (master.status().attempt, master.status().counted) == (3, 0)
        put_all(master, ten_updates.updates)
        assert ten_updates.are_exactly_in(master.published(1))


def test_a_master_whose_folder_another_one_has_by_now_ends_and_leaves_it_alone(
    federation: Federation, ten_updates: TenUpdates, s3_server: S3Server
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--no-tensorboard")
    *most, last = ten_updates.updates
    put_all(master, most)
    master.lose_disk()
    with Federation(federation.folder, s3_server, federation.bucket_key) as elsewhere:
        other = elsewhere.master(ten_updates.model, "--threshold", "10", "--no-tensorboard")
        assert other.state_dir == master.state_dir
        put_all(other, most)

        with contextlib.suppress(requests.ConnectionError):
            assert put(master, last).status_code == 503

        assert "was removed" in ending_of(master).sentence
        put_all(other, [last])
        assert ten_updates.are_exactly_in(other.published(1))


def test_a_worker_whose_folder_is_removed_ends_and_its_clients_send_again(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10")
    worker = federation.worker("worker", upstream=master.url)
    *most, last = ten_updates.updates
    put_all(worker, most)

    worker.lose_disk()
    with contextlib.suppress(requests.ConnectionError):
        assert put(worker, last).status_code == 503

    assert f"{worker.state_dir} was removed" in ending_of(worker).sentence
    worker.start()
    put_all(worker, ten_updates.updates[-2:])
    assert ten_updates.are_exactly_in(master.published(1))
