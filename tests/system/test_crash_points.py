"""Every aggregator killed at every point where it hurts: each client counts once, and the bytes are the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fedtier.crash_points import CrashPoint
from fedtier.problems import RoundOver
from fedtier.rounds import UpdateReceipt
from fedtier.tensors import write_arrays
from tests.reference import Tensor
from tests.s3_servers import S3Server
from tests.system.faults import DiskLost, Killed
from tests.system.federation import Federation
from tests.system.points import (
    COUNTING,
    PUBLISHING,
    SNAPSHOTTING,
    STARTING,
    SUMMING,
    TAKING_PART,
    UPLOADING,
)
from tests.system.three_tiers import assert_round_is_exact, send_all
from tests.system.tree import Fault, Tree
from tests.system.updates import TenUpdates, send, send_at_once, write_update

pytestmark = pytest.mark.system


def test_every_crash_point_is_in_one_of_the_lists_that_tests_go_through() -> None:
    of_the_master = [*COUNTING, *SNAPSHOTTING, *PUBLISHING, *STARTING]
    others = [*UPLOADING, *SUMMING, *TAKING_PART]
    assert sorted([*of_the_master, *others]) == sorted(CrashPoint)


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
    master = tree.federation["master"]
    number = tree.open_round()
    attempt = master.status().attempt
    fault = Killed("master", round=number + 1, at=CrashPoint.RECORD_WRITTEN)
    tree.expect(fault)

    send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    assert tree.open_round() == number + 1
    assert tree.happened() == [fault]
    assert master.status().attempt == attempt + 1
    assert master.events("the round before is published: the next one opens")
    assert not master.events("the journal is damaged")


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

    first = send(tree.ways["edge-1"].url, ten_updates.updates[0], number, tree.federation.guard)
    answers = send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    assert tree.happened() == faults
    assert tree.published(number).attempt == attempt + 2, (first, answers)


def test_a_worker_killed_after_it_took_out_what_counted_already_takes_it_out_again(
    tree: Tree, ten_updates: TenUpdates
) -> None:
    number = tree.open_round()
    edge, other, guard = tree.federation["edge-1"], tree.ways["edge-2"].url, tree.federation.guard
    # Made first: the batch of one, the batch of all others, and that one again without those who counted.
    fault = Killed("edge-1", round=number, at=CrashPoint.BATCH_SEALED, skip=2)
    tree.expect(fault)
    send_at_once([(other, update) for update in ten_updates.updates[:5]], number, guard)
    *others, first = [(tree.ways["edge-1"].url, update) for update in ten_updates.updates]

    def await_files(number: int, until: str) -> None:
        spool = edge.state_dir / "spool"
        edge.process.wait_until(lambda: len(list(spool.iterdir())) >= number, until)

    with ThreadPoolExecutor(2) as senders:
        with tree.federation["master"].frozen():  # so that the others gather behind the batch in flight
            sendings = [senders.submit(send_at_once, [first], number, guard)]
            await_files(2, "the first is in a batch")
            sendings.append(senders.submit(send_at_once, others, number, guard))
            await_files(2 + len(others), "all wait at the edge")
        answers = [answer for sending in sendings for answer in sending.result()]

    assert all(isinstance(answer, UpdateReceipt | RoundOver) for answer in answers), answers
    assert_round_is_exact(tree, ten_updates, number)
    assert tree.happened() == [fault]
    refused = next(seen for seen in edge.events("the upstream refused a batch") if seen["round"] == number)
    again = [seen for seen in edge.events("round seen") if seen["round"] == number][1]
    assert refused["problem"] == "already-counted"
    assert refused["timestamp"] < again["timestamp"], "the batch that was refused was made anew before the crash"


def test_a_master_killed_around_a_snapshot_has_each_entry_in_its_sum_once(
    s3_server: S3Server, bucket_key: str, tmp_path: Path
) -> None:
    """The entries of a round outgrow what a journal keeps without a snapshot: 64 MiB."""
    rng = np.random.default_rng(0)
    size = 2 << 20
    model = tmp_path / "model.safetensors"
    with model.open("wb") as file:
        write_arrays(file, {"weight": np.zeros((2, size // 2), np.float32)})
    updates = []
    for number in range(10):
        weight = Tensor("F32", (2, size // 2), rng.uniform(-1, 1, size).astype("<f4").tobytes())
        updates.append(write_update(tmp_path, f"client-{number}", {"weight": weight}, num_examples=number + 1))

    digests = set()
    with Federation(tmp_path, s3_server, bucket_key) as federation, Tree(federation, tmp_path / "sent") as tree:
        tree.master(model, "--threshold", "10")
        for number, faults in enumerate([[], [CrashPoint.SNAPSHOT_WRITTEN], [CrashPoint.SNAPSHOT_COMMITTED]], 1):
            expected = [Killed("master", round=number, at=point) for point in faults]
            tree.expect(*expected)
            for update in updates:
                send(tree.ways["master"].url, update, number)
            manifest = tree.published(number)
            assert tree.happened() == expected
            assert [c.sha256 for c in manifest.contributors] == [update.sha256 for update in updates]
            digests.add(manifest.model.sha256)
            tree.open_round()
    assert len(digests) == 1, "the same updates make the same model, with and without a crash"
