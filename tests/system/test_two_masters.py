"""Of two masters by mistake one has the round; the other publishes nothing, ends, and says why."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import pytest
import requests

from fedtier.rounds import Head, UpdateReceipt
from tests.masters import store_of
from tests.relays import S3BehindRelay
from tests.s3_servers import S3Server
from tests.system.endings import Ending, ending_of, refused_start
from tests.system.federation import PATIENCE, Aggregator, Federation
from tests.system.updates import TenUpdates, Update, send_at_once
from tests.system.uploads import assert_unavailable, put, put_all

pytestmark = pytest.mark.system

TAKEN_OVER: Final = "another master has taken over"


@pytest.fixture
def elsewhere(tmp_path: Path, s3_server: S3Server, bucket_key: str) -> Iterator[Federation]:
    """A second place from which a master is started for the same bucket key."""
    (tmp_path / "elsewhere").mkdir()
    with Federation(tmp_path / "elsewhere", s3_server, bucket_key) as federation:
        yield federation


def head_of(s3: S3Server, federation: Federation) -> Head:
    stored = store_of(s3, federation.bucket_key).read_head()
    assert stored is not None
    return stored.head


def published_attempts(s3: S3Server, federation: Federation) -> list[tuple[int, int]]:
    history = store_of(s3, federation.bucket_key).history()
    return [(published.round, published.manifest.attempt) for published in history][::-1]


def closed(master: Aggregator, updates: Sequence[Update], number: int = 1) -> Ending:
    """Let a master count the last updates of its round, and return how it ended by that."""
    put_all(master, updates[:-1], number)
    with suppress(requests.ConnectionError):  # it may end before it has answered
        assert put(master, updates[-1], number).status_code == 200
    return ending_of(master)


def test_the_master_whose_round_another_one_took_publishes_nothing_and_may_not_run_again(
    federation: Federation, elsewhere: Federation, ten_updates: TenUpdates, s3_server: S3Server
) -> None:
    older = federation.master(ten_updates.model, "--threshold", "10")
    most, last = ten_updates.updates[:9], ten_updates.updates[9:]
    put_all(older, most)
    newer = elsewhere.master(ten_updates.model, "--threshold", "10")
    worker = elsewhere.worker("worker", upstream=newer.url)
    assert (newer.status().round, newer.status().attempt, newer.status().counted) == (1, 3, 0)

    ending = closed(older, last)
    assert TAKEN_OVER in ending.sentence
    assert "round 1, attempt 2" in ending.sentence
    assert (head_of(s3_server, federation).round, head_of(s3_server, federation).attempt) == (0, 3)

    receipts = send_at_once([(worker.url, update) for update in ten_updates.updates], 1)
    assert [receipt.attempt for receipt in receipts if isinstance(receipt, UpdateReceipt)] == [3] * 10, receipts
    assert ten_updates.are_exactly_in(newer.published(1))
    ending = refused_start(older)
    assert TAKEN_OVER in ending.sentence
    assert "--state-dir" in ending.sentence

    older.lose_disk()
    older.start()  # and takes over in turn
    assert (older.status().round, older.status().attempt) == (2, 5)
    assert TAKEN_OVER in closed(newer, ten_updates.updates, 2).sentence
    put_all(older, ten_updates.updates, 2)
    assert ten_updates.are_exactly_in(older.published(2))
    assert published_attempts(s3_server, federation) == [(0, 0), (1, 3), (2, 5)]


def test_masters_that_start_at_the_same_moment_never_have_the_same_attempt(
    s3_server: S3Server, tmp_path: Path, ten_updates: TenUpdates, bucket_key: str
) -> None:
    def start(federation: Federation) -> Aggregator:
        return federation.master(ten_updates.model, "--threshold", "10")

    with S3BehindRelay(s3_server) as s3, ThreadPoolExecutor(2) as starters:
        for repetition in range(3):
            key = bucket_key.replace("model.", f"model-{repetition}.")
            store_of(s3_server, key).publish_initial(ten_updates.model)
            with ExitStack() as running:
                places = [tmp_path / f"{repetition}-{name}" for name in "ab"]
                for place in places:
                    place.mkdir()
                pair = [running.enter_context(Federation(place, s3.server, key)) for place in places]
                # The model is the last thing that they fetch before they claim.
                with s3.holding_replies(rb"GET [^ ]*/model-", after=0):
                    starting = [starters.submit(start, federation) for federation in pair]
                    assert all(s3.held.acquire(timeout=PATIENCE) for _ in pair)
                lower, higher = sorted((each.result() for each in starting), key=lambda each: each.status().attempt)

                assert (lower.status().attempt, higher.status().attempt) == (2, 3)
                assert head_of(s3_server, pair[0]).attempt == 3
                assert TAKEN_OVER in closed(lower, ten_updates.updates).sentence
                put_all(higher, ten_updates.updates)
                assert ten_updates.are_exactly_in(higher.published(1))
                assert published_attempts(s3_server, pair[0]) == [(0, 0), (1, 3)]


def test_a_worker_drops_what_it_holds_for_an_attempt_that_is_over_and_its_clients_send_again(
    federation: Federation, elsewhere: Federation, ten_updates: TenUpdates
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10")
    worker = federation.worker("worker", upstream=master.url)
    elsewhere.master(ten_updates.model, "--threshold", "10").kill()
    first, second, *_ = ten_updates.updates
    spool = worker.state_dir / "spool"
    with ThreadPoolExecutor(2) as senders:
        os.kill(master.serving_pid, signal.SIGSTOP)
        in_flight = senders.submit(put, worker, first)
        worker.process.wait_until(lambda: len(list(spool.iterdir())) == 2, "a batch is in flight")
        waiting = senders.submit(put, worker, second)
        worker.process.wait_until(lambda: len(list(spool.iterdir())) == 3, "another one waits behind it")
        master.kill()
        master.lose_disk()
        master.start()
        for answer in (in_flight.result(), waiting.result()):
            assert_unavailable(answer, "send the update again")

    assert {refusal["problem"] for refusal in worker.events("the upstream refused a batch")} == {"attempt-over"}
    assert (master.status().attempt, master.status().counted) == (4, 0)
    worker.process.wait_until(lambda: not any(spool.iterdir()), "what it held is dropped")
    receipts = send_at_once([(worker.url, update) for update in ten_updates.updates], 1)
    assert [receipt.attempt for receipt in receipts if isinstance(receipt, UpdateReceipt)] == [4] * 10, receipts
    assert ten_updates.are_exactly_in(master.published(1))
