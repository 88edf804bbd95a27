"""An aggregator says when it cannot work and takes up again by itself; ended in the midst of work, it ends cleanly."""

from __future__ import annotations

import contextlib
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.system.federation import Aggregator, Federation
from tests.system.updates import TenUpdates, send, send_at_once
from tests.system.uploads import assert_unready, half_an_upload

pytestmark = pytest.mark.system


def test_a_worker_without_its_upstream_says_so_and_takes_up_again(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "1")
    assert master.stop() == 0
    worker = federation.worker("worker", upstream=master.url, ready=False)
    assert_unready(worker, master.url)

    master.start()
    worker.wait_until_ready()
    send(worker.url, ten_updates.updates[0], 1)
    master.published(1)

    assert master.stop() == 0
    assert_unready(worker, master.url)
    master.start()
    worker.wait_until_ready()
    send(worker.url, ten_updates.updates[0], 2)
    assert [c.client_id for c in master.published(2).contributors] == [ten_updates.updates[0].client_id]


@pytest.mark.parametrize("ended", ["master", "worker"])
def test_an_upload_that_goes_on_after_sigterm_is_answered(
    ended: str, federation: Federation, ten_updates: TenUpdates
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10")
    federation.worker("worker", upstream=master.url)
    aggregator, update = federation[ended], ten_updates.updates[0]

    with half_an_upload(aggregator, update) as connection:
        aggregator.process.signal(signal.SIGTERM)
        aggregator.process.wait_until(lambda: not listens(aggregator), "it listens no more")
        body = update.path.read_bytes()
        connection.sendall(body[len(body) // 2 :])
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert update.sha256.encode() in answer
    assert aggregator.process.wait() == 0
    aggregator.start()
    assert master.status().counted == 1


def listens(aggregator: Aggregator) -> bool:
    try:
        socket.create_connection((aggregator.host, aggregator.port), timeout=60).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("ended", ["master", "worker"])
def test_an_upload_that_stands_still_does_not_keep_a_server_from_ending(
    ended: str, federation: Federation, ten_updates: TenUpdates
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--grace", "1")
    federation.worker("worker", "--grace", "1", upstream=master.url)
    aggregator = federation[ended]

    with half_an_upload(aggregator, ten_updates.updates[0]) as connection:
        status = aggregator.stop()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""

    assert status == 0, aggregator.process.log_end()
    aggregator.start()
    assert not list((aggregator.state_dir / "spool").iterdir())
    assert master.status().counted == 0


def test_updates_that_wait_for_a_silent_master_survive_the_end_of_their_worker(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10")
    worker = federation.worker("worker", "--grace", "1", upstream=master.url)

    with ThreadPoolExecutor(1) as senders:
        with master.frozen():
            sending = senders.submit(send_at_once, [(worker.url, update) for update in ten_updates.updates], 1)
            spool = worker.state_dir / "spool"
            worker.process.wait_until(lambda: len(list(spool.iterdir())) > len(ten_updates.updates), "all wait")
            status = worker.stop()
        worker.start()
        answers = sending.result()

    assert status == 0, worker.process.log_end()
    assert ten_updates.are_exactly_in(master.published(1)), answers
