"""While S3 is away, hangs or loses replies, a closed round waits; once S3 is back it is published, once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from fedtier.store import StoreCorrupt
from tests.masters import store_of
from tests.relays import S3BehindRelay
from tests.s3_servers import S3Server
from tests.scrapes import Scrape
from tests.system.endings import ending_of, refused_start
from tests.system.federation import Aggregator, Federation
from tests.system.lasting_s3 import LastingS3
from tests.system.updates import TenUpdates
from tests.system.uploads import assert_unready, put, put_all

pytestmark = pytest.mark.system


def failed_tries(master: Aggregator) -> float:
    return Scrape(master.get("/metrics").text)("retries_total", reason="s3")


class PassingS3(Protocol):
    """An S3 server that goes away and comes back."""

    @property
    def server(self) -> S3Server: ...

    def start(self) -> None: ...

    def stop(self) -> object: ...

    def freeze(self) -> object: ...

    def thaw(self) -> object: ...


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PassingS3]:
    with LastingS3(tmp_path_factory.mktemp("s3-of-its-own")) as server:
        yield server


@pytest.fixture
def relayed(s3_server: S3Server) -> Iterator[S3BehindRelay]:
    with S3BehindRelay(s3_server) as relay:
        yield relay


@pytest.fixture
def s3(request: pytest.FixtureRequest) -> PassingS3:
    """A server of our own, or the way to the one that the other tests use where that is not SeaweedFS."""
    others = os.environ.get("FEDTIER_TEST_S3_ENDPOINT") or shutil.which("minio")
    wanted = getattr(request, "param", "relayed" if others else "own_server")
    server: PassingS3 = request.getfixturevalue(wanted)
    return server


@contextlib.contextmanager
def away(s3: PassingS3, how: str = "stopped") -> Iterator[str]:
    """Let S3 be away while the block runs, and give the address at which it is missed."""
    leave, come_back = {"stopped": (s3.stop, s3.start), "hanging": (s3.freeze, s3.thaw)}[how]
    endpoint = s3.server.endpoint
    leave()
    try:
        yield endpoint
    finally:
        come_back()


@pytest.fixture
def federation(tmp_path: Path, s3: PassingS3, bucket_key: str) -> Iterator[Federation]:
    with Federation(tmp_path, s3.server, bucket_key) as federation:
        yield federation


@pytest.fixture
def master(federation: Federation, ten_updates: TenUpdates, s3: PassingS3, tmp_path: Path) -> Aggregator:
    """A master whose first round is published, its copy included, so that only the next is left to do."""
    master = federation.master(ten_updates.model, "--threshold", "10")
    put_all(master, ten_updates.updates)
    assert ten_updates.are_exactly_in(master.published(1))
    store = store_of(s3.server, federation.bucket_key)

    def is_copied() -> bool:
        with contextlib.suppress(StoreCorrupt):
            store.download_copy(ten_updates.mean_sha256, tmp_path / "copy")
            return True
        return False

    master.process.wait_until(is_copied, "the copy is written")
    return master


def assert_published_once(s3: PassingS3, bucket_key: str, rounds: int) -> None:
    history = store_of(s3.server, bucket_key).history()
    assert [published.round for published in history] == list(range(rounds, -1, -1))


@pytest.mark.parametrize(
    ("s3", "how", "reason"),
    [
        ("own_server", "stopped", "EndpointConnectionError"),
        ("own_server", "hanging", "ReadTimeoutError"),
        ("relayed", "stopped", "EndpointConnectionError"),
    ],
    indirect=["s3"],
)
def test_while_s3_is_away_the_round_counts_closes_and_waits_and_then_it_is_published_once(
    s3: PassingS3, how: str, reason: str, federation: Federation, master: Aggregator, ten_updates: TenUpdates
) -> None:
    worker = federation.worker("worker", upstream=master.url)
    early, late = ten_updates.updates[:5], ten_updates.updates[5:]
    with away(s3, how) as endpoint:
        put_all(worker, early, 2)
        put_all(master, late, 2)
        assert_unready(master, f"a round waits to be published: S3 at {endpoint} cannot be reached ({reason})")

        assert (master.status().round, master.status().state, master.status().counted) == (2, "publishing", 10)
        for aggregator in (worker, master):
            assert put(aggregator, early[0], 2).json()["type"] == "urn:fedtier:problem:round-over"
            model = aggregator.get("/v1/rounds/1/model").content
            assert hashlib.sha256(model).hexdigest() == ten_updates.mean_sha256
        if how == "stopped":
            master.process.wait_until(lambda: failed_tries(master) >= 4, "it tried again and again")
            assert master.events("publishing does not get on")

    assert ten_updates.are_exactly_in(master.published(2))
    master.wait_until_ready()
    worker.wait_for_round(3)
    put_all(worker, ten_updates.updates, 3)
    assert ten_updates.are_exactly_in(master.published(3))
    assert master.status().attempt == 2 + 3
    assert_published_once(s3, federation.bucket_key, 3)


@pytest.mark.parametrize("killed", ["the whole master", "the process that serves"])
def test_a_master_killed_while_s3_is_away_ends_with_a_sentence_and_then_publishes_what_it_had_closed(
    killed: str, s3: PassingS3, federation: Federation, master: Aggregator, ten_updates: TenUpdates
) -> None:
    with away(s3) as endpoint:
        put_all(master, ten_updates.updates, 2)
        (journal,) = master.state_dir.glob("round-000002-*")
        master.process.wait_until((journal / "close.json").exists, "the round is closed")
        assert_unready(master, "cannot be reached")
        written = contents(journal)

        if killed == "the whole master":
            master.kill()
            ending = refused_start(master)
        else:  # gunicorn starts another one
            os.kill(master.serving_pid, signal.SIGKILL)
            ending = ending_of(master)

        assert f"S3 at {endpoint} cannot be reached" in ending.sentence
        assert contents(journal) == written

    master.start()
    assert ten_updates.are_exactly_in(master.published(2))
    record = json.loads(written["close.json"].partition(b"\n")[2])
    assert master.get("/v1/rounds/2/manifest").text == record["manifest"]
    assert master.status().attempt == 2 + 2
    assert_published_once(s3, federation.bucket_key, 2)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("s3", ["relayed"], indirect=True)
def test_replies_of_s3_that_are_lost_end_no_master_and_publish_nothing_twice(
    s3: S3BehindRelay, federation: Federation, ten_updates: TenUpdates
) -> None:
    head, objects = rb"PUT [^ ]*/head\.json", (rb"PUT [^ ]*/model-", rb"PUT [^ ]*/manifest-", rb"PUT [^ ]*/head\.json")
    s3.lose_replies(head, 2)
    master = federation.master(ten_updates.model, "--threshold", "10")
    assert s3.left_to_lose == 0
    assert master.status().attempt == 3  # attempt 2 may be another master's, for all that this one knows
    serving = master.serving_pid

    for number, lost in enumerate([*objects, rb"PUT [^ ]*/model\.safetensors", b"PUT "], start=1):
        s3.lose_replies(lost, 5 if lost == b"PUT " else 1)
        put_all(master, ten_updates.updates, number)
        assert ten_updates.are_exactly_in(master.published(number))
        master.process.wait_until(lambda: s3.left_to_lose == 0, "the replies were lost")

    master.wait_until_ready()
    assert master.serving_pid == serving
    assert len(master.events("round published")) == 5
    assert master.status().attempt == 3 + 5
    assert_published_once(s3, federation.bucket_key, 5)
