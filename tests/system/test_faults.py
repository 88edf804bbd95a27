"""What goes wrong on the ways and in whole processes: every round counts each client once and has the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedtier.problems import RoundOver
from fedtier.rounds import UpdateReceipt
from tests.masters import wait_until
from tests.system.faults import (
    DiskLost,
    Frozen,
    Killed,
    OnTheWay,
    S3Frozen,
    S3Stopped,
    SecondMaster,
    ServingProcessKilled,
    ToldToStop,
    WayCut,
)
from tests.system.lasting_s3 import LastingS3
from tests.system.mishaps import BodyTruncated, Delayed, Doubled, HeldBack, ReplyLost, Stalled
from tests.system.strangers import SHOWN, Shown, Stranger
from tests.system.three_tiers import EDGES, assert_round_is_exact, send_all, three_tiers
from tests.system.tree import Fault, Tree
from tests.system.updates import TenUpdates, send
from tests.system.ways import Mishap

pytestmark = pytest.mark.system

MISHAPS: list[Mishap] = [ReplyLost(), BodyTruncated(), Doubled(), Doubled(later=1), Delayed(seconds=1), HeldBack()]

TROUBLES = [
    pytest.param(lambda tier, number: WayCut(tier, number, seconds=1), id="its way is cut"),
    pytest.param(lambda tier, number: Frozen(tier, number, seconds=1), id="it stands still"),
    pytest.param(ServingProcessKilled, id="its serving process dies alone"),
]


@pytest.mark.parametrize("to", ["edge-1", "middle", "master"])
@pytest.mark.parametrize("mishap", MISHAPS, ids=str)
def test_an_upload_to_which_something_happens_on_its_way_counts_once(
    mishap: Mishap, to: str, tree: Tree, ten_updates: TenUpdates
) -> None:
    number = tree.open_round()
    fault = OnTheWay(mishap, to=to, round=number)
    tree.expect(fault)

    answers = send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    assert tree.happened() == [fault], answers


@pytest.mark.parametrize("to", ["edge-1", "middle"])
def test_a_body_that_stops_midway_is_cut_off_and_its_sender_sends_again(
    to: str, tree: Tree, ten_updates: TenUpdates
) -> None:
    number = tree.open_round()
    fault = OnTheWay(Stalled(), to=to, round=number)
    tree.expect(fault)

    answers = send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    assert tree.happened() == [fault], answers
    assert any("came too slowly" in line for line in tree.federation[to].process.log.read_text().splitlines())


@pytest.mark.parametrize("shows", SHOWN)
def test_a_stranger_is_turned_away_by_every_tier_and_changes_nothing(
    shows: Shown, tree: Tree, ten_updates: TenUpdates
) -> None:
    number = tree.open_round()
    faults = [Stranger(shows, "client-9", to=tier, round=number) for tier in ("edge-1", "middle", "master")]
    tree.expect(*faults)

    send(tree.ways["edge-1"].url, ten_updates.updates[0], number, tree.federation.guard)
    assert tree.happened() == faults
    send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)


@pytest.mark.parametrize("tier", ["edge-1", "middle", "master"])
@pytest.mark.parametrize("fault", TROUBLES)
def test_an_aggregator_in_trouble_for_a_while_loses_nothing(
    fault: Callable[[str, int], Fault], tier: str, tree: Tree, ten_updates: TenUpdates
) -> None:
    number = tree.open_round()
    tree.expect(fault(tier, number))

    send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    assert tree.happened() == [fault(tier, number)]


@pytest.mark.parametrize("tier", ["edge-1", "middle", "master"])
def test_an_aggregator_that_is_replaced_in_the_midst_of_a_round_ends_well_and_loses_nothing(
    tier: str, tree: Tree, ten_updates: TenUpdates
) -> None:
    number = tree.open_round()
    ends_before = len(tree.keepers[tier].absences)
    tree.expect(ToldToStop(tier, round=number))

    send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    assert tree.happened() == [ToldToStop(tier, round=number)]
    wait_until(lambda: len(tree.keepers[tier].absences) > ends_before)
    assert tree.keepers[tier].endings[-1].status == 0


def test_a_lost_disk_and_a_second_master_in_one_round_lose_no_round(tree: Tree, ten_updates: TenUpdates) -> None:
    number = tree.open_round()
    attempt = tree.federation["master"].status().attempt
    faults: list[Fault] = [SecondMaster(round=number), DiskLost(round=number)]
    tree.expect(*faults)
    send_all(tree, ten_updates, number)
    assert tree.happened() == faults

    # As clients do, which see a new attempt: a master learns only when it publishes that another has taken over, and
    # until then says that the round is over.
    while tree.open_round() == number:
        send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    assert tree.published(number).attempt > attempt


def test_everything_at_once_counts_everyone_once(tree: Tree, ten_updates: TenUpdates) -> None:
    number = tree.open_round()
    tree.expect(
        Killed("edge-1", round=number),
        Killed("middle", round=number, after=0.2),
        Killed("master", round=number, after=0.4),
        *(OnTheWay(mishap, to=edge, round=number) for mishap in MISHAPS for edge in EDGES),
        *(OnTheWay(mishap, to="middle", round=number) for mishap in MISHAPS),
    )

    answers = send_all(tree, ten_updates, number)

    assert_round_is_exact(tree, ten_updates, number)
    happened = tree.happened()
    assert [fault for fault in happened if isinstance(fault, Killed)]
    assert len([fault for fault in happened if isinstance(fault, OnTheWay)]) >= len(MISHAPS)
    assert all(isinstance(answer, UpdateReceipt | RoundOver) for answer in answers), answers


def test_s3_stopped_for_ten_seconds_and_silent_for_ten_delays_the_rounds_and_no_more(
    tmp_path: Path, ten_updates: TenUpdates
) -> None:
    with LastingS3(tmp_path) as s3, three_tiers(tmp_path, s3.server, "jobs/a.safetensors", ten_updates, s3=s3) as tree:
        for fault in (S3Stopped(round=1, seconds=10), S3Frozen(round=2, seconds=10)):
            tree.expect(fault)
            answers = send_all(tree, ten_updates, fault.round)
            assert all(isinstance(answer, UpdateReceipt | RoundOver) for answer in answers), answers
            assert_round_is_exact(tree, ten_updates, fault.round)
            assert tree.happened() == [fault]
