"""Every aggregator killed at every point where it hurts: each client counts once, and the bytes are the same."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedtier.crash_points import CrashPoint
from fedtier.problems import Problem
from fedtier.rounds import UpdateReceipt
from tests.s3_servers import S3Server
from tests.system.faults import DiskLost, Killed
from tests.system.federation import Federation
from tests.system.tree import Fault, Tree
from tests.system.updates import TenUpdates, send, send_at_once

pytestmark = pytest.mark.system

UPLOADING = [
    CrashPoint.UPLOAD_BEGUN,
    CrashPoint.UPLOAD_UNDER_WAY,
    CrashPoint.UPLOAD_SPOOLED,
    CrashPoint.UPLOAD_CHECKED,
    CrashPoint.UPLOAD_SETTLED,
]
COUNTING = [
    CrashPoint.BODIES_ADOPTED,
    CrashPoint.RECORD_WRITTEN,
    CrashPoint.RECORD_RENAMED,
    CrashPoint.ENTRIES_JOURNALED,
    CrashPoint.ENTRIES_ADDED,
]
PUBLISHING = [
    CrashPoint.ROUND_CLOSED,
    CrashPoint.MODEL_WRITTEN,
    CrashPoint.CLOSE_RECORDED,
    CrashPoint.MODEL_STORED,
    CrashPoint.MANIFEST_STORED,
    CrashPoint.HEAD_SWAPPED,
    CrashPoint.MODEL_SHELVED,
    CrashPoint.NEXT_OPENED,
    CrashPoint.COPY_WRITTEN,
]
SUMMING = [CrashPoint.ENTRY_FOLDED, CrashPoint.BATCH_SEALED, CrashPoint.BATCH_ANSWERED]


@pytest.fixture(scope="module")
def tree(s3_server: S3Server, ten_updates: TenUpdates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """Three tiers that go on from test to test; each test has a round of its own."""
    folder = tmp_path_factory.mktemp("crash-points")
    with (
        Federation(folder, s3_server, f"tests/{folder.name}-{id(folder)}/model.safetensors") as federation,
        Tree(federation, folder / "sent") as tree,
    ):
        tree.master(ten_updates.model, "--threshold", "10")
        tree.worker("middle", upstream="master")
        for edge in ("edge-1", "edge-2"):
            tree.worker(edge, upstream="middle")
        yield tree


def send_all(tree: Tree, ten_updates: TenUpdates, round_number: int) -> list[UpdateReceipt | Problem]:
    """Send five updates through either edge, again and again until they are answered."""
    edges = [tree.ways["edge-1"].url, tree.ways["edge-2"].url]
    return send_at_once([(edges[i % 2], update) for i, update in enumerate(ten_updates.updates)], round_number)


def assert_round_is_exact(tree: Tree, ten_updates: TenUpdates, round_number: int) -> None:
    manifest = tree.published(round_number)
    assert ten_updates.are_exactly_in(manifest)
    for promise in tree.ledger.promises(round_number):
        counted = {c.client_id: c.sha256 for c in manifest.contributors}
        assert promise.attempt < manifest.attempt or counted[promise.client_id] == promise.sha256


@pytest.mark.parametrize(
    ("tier", "point"),
    [
        *(("master", point) for point in [*UPLOADING, *COUNTING, *PUBLISHING]),
        *(("middle", point) for point in [*UPLOADING, *SUMMING]),
        *(("edge-1", point) for point in [*UPLOADING, *SUMMING]),
    ],
)
def test_a_tier_killed_anywhere_counts_everyone_once(
    tier: str, point: CrashPoint, tree: Tree, ten_updates: TenUpdates
) -> None:
    number = tree.open_round()
    tree.expect(Killed(tier, round=number, at=point))

    answers = send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    tree.open_round()
    assert tree.happened() == [Killed(tier, round=number, at=point)], answers


def test_a_master_killed_while_it_opens_the_next_round_opens_it_when_it_is_back(
    tree: Tree, ten_updates: TenUpdates
) -> None:
    number = tree.open_round()
    fault = Killed("master", round=number + 1, at=CrashPoint.RECORD_WRITTEN)
    tree.expect(fault)

    send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    assert tree.open_round() == number + 1
    assert tree.happened() == [fault]


def test_a_master_killed_again_while_it_reads_its_journal_back_has_lost_nothing(
    tree: Tree, ten_updates: TenUpdates
) -> None:
    number = tree.open_round()
    faults = [
        Killed("master", round=number, at=CrashPoint.ENTRIES_JOURNALED),
        Killed("master", round=number, at=CrashPoint.JOURNAL_LOADED),
    ]
    tree.expect(*faults)

    send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    assert tree.happened() == faults


def test_a_master_killed_between_its_claim_and_its_journal_claims_once_more(
    tree: Tree, ten_updates: TenUpdates
) -> None:
    number = tree.open_round()
    attempt = tree.federation["master"].status().attempt
    faults: list[Fault] = [DiskLost(round=number), Killed("master", round=number, at=CrashPoint.ATTEMPT_CLAIMED)]
    tree.expect(*faults)

    first = send(tree.ways["edge-1"].url, ten_updates.updates[0], number)
    answers = send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    assert tree.happened() == faults
    assert tree.published(number).attempt == attempt + 2, (first, answers)


def test_a_worker_killed_after_it_took_out_what_counted_already_takes_it_out_again(
    tree: Tree, ten_updates: TenUpdates
) -> None:
    number = tree.open_round()
    edge, other = tree.federation["edge-1"], tree.ways["edge-2"].url
    fault = Killed("edge-1", round=number, at=CrashPoint.BATCH_SHRUNK)
    tree.expect(fault)
    send_at_once([(other, update) for update in ten_updates.updates[:5]], number)

    with ThreadPoolExecutor(1) as senders:
        with tree.federation["master"].frozen():  # so that one batch of the edge holds counted and new ones
            deliveries = [(tree.ways["edge-1"].url, update) for update in ten_updates.updates]
            sending = senders.submit(send_at_once, deliveries, number)
            spool = edge.state_dir / "spool"
            edge.process.wait_until(lambda: len(list(spool.iterdir())) > len(deliveries), "all wait at the edge")
        answers = sending.result()

    assert all(isinstance(answer, UpdateReceipt) for answer in answers), answers
    assert_round_is_exact(tree, ten_updates, number)
    assert tree.happened() == [fault]
