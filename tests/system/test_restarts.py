"""A round goes on after a restart of any tier, and what got a 200 is in it, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from fedtier.rounds import UpdateReceipt
from tests.system.federation import Federation
from tests.system.updates import TenUpdates, send, send_at_once

pytestmark = pytest.mark.system


def three_tiers(federation: Federation, ten_updates: TenUpdates) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10")
    middle = federation.worker("middle", "--batch-max", "2", upstream=master.url)
    federation.worker("edge", "--batch-max", "2", upstream=middle.url)


@pytest.mark.parametrize("restarted", ["edge", "middle", "master"])
def test_a_round_goes_on_after_a_clean_restart_in_its_midst(
    restarted: str, federation: Federation, ten_updates: TenUpdates
) -> None:
    three_tiers(federation, ten_updates)
    edge, master = federation["edge"], federation["master"]
    before, meanwhile, after = ten_updates.updates[:4], ten_updates.updates[4:8], ten_updates.updates[8:]
    plan = master.status().plan
    send_at_once([(edge.url, update) for update in before], 1)

    with ThreadPoolExecutor(1) as senders:
        sending = senders.submit(send_at_once, [(edge.url, update) for update in (*before[:2], *meanwhile)], 1)
        federation[restarted].restart()
        answers = sending.result()
    for update in after:
        answers.append(send(edge.url, update, 1))

    assert all(isinstance(answer, UpdateReceipt) for answer in answers), answers
    manifest = master.published(1)
    assert ten_updates.are_exactly_in(manifest)
    assert manifest.attempt == plan.attempt


def test_a_killed_master_has_everything_that_got_a_200(federation: Federation, ten_updates: TenUpdates) -> None:
    three_tiers(federation, ten_updates)
    edge, master = federation["edge"], federation["master"]
    by_worker, directly, after = ten_updates.updates[:4], ten_updates.updates[4:6], ten_updates.updates[6:]
    send_at_once([(edge.url, update) for update in by_worker], 1)
    send_at_once([(master.url, update) for update in directly], 1)
    plan = master.status().plan

    master.kill()
    master.start()

    assert master.status().plan == plan
    assert master.status().counted == len(by_worker) + len(directly)
    send_at_once([(edge.url, update) for update in after], 1)
    assert ten_updates.are_exactly_in(master.published(1))


def test_a_master_killed_while_updates_come_in_counts_each_once(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    three_tiers(federation, ten_updates)
    edge, master = federation["edge"], federation["master"]
    *most, last = ten_updates.updates
    attempt = master.status().attempt

    with ThreadPoolExecutor(1) as senders:
        sending = senders.submit(send_at_once, [(edge.url, update) for update in most], 1)
        master.process.wait_until(lambda: master.status().counted > 0, "the first is counted")
        master.kill()
        master.start()
        answers = sending.result()
    answers.append(send(edge.url, last, 1))

    assert [answer.attempt for answer in answers if isinstance(answer, UpdateReceipt)] == [attempt] * 10, answers
    assert ten_updates.are_exactly_in(master.published(1))


def test_a_master_without_its_disk_opens_a_new_attempt_and_counts_what_is_sent_again(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    three_tiers(federation, ten_updates)
    edge, master = federation["edge"], federation["master"]
    deliveries = [(edge.url, update) for update in ten_updates.updates]
    promised = send_at_once(deliveries[:6], 1)

    master.kill()
    master.lose_disk()
    master.start()

    now = master.status()
    assert (now.round, now.counted) == (1, 0)
    assert {answer.attempt for answer in promised if isinstance(answer, UpdateReceipt)} == {now.attempt - 1}
    again = send_at_once(deliveries, 1)
    assert [answer.attempt for answer in again if isinstance(answer, UpdateReceipt)] == [now.attempt] * 10, again
    manifest = master.published(1)
    assert ten_updates.are_exactly_in(manifest)
    assert manifest.attempt == now.attempt


def test_a_killed_worker_leaves_nothing_counted_twice(federation: Federation, ten_updates: TenUpdates) -> None:
    three_tiers(federation, ten_updates)
    edge, master = federation["edge"], federation["master"]
    *most, last = ten_updates.updates

    with ThreadPoolExecutor(1) as senders:
        with master.frozen():  # so that updates are in the edge's batches, and in the middle's, when they die
            sending = senders.submit(send_at_once, [(edge.url, update) for update in most], 1)
            spool = federation["middle"].state_dir / "spool"
            federation["middle"].process.wait_until(lambda: any(spool.iterdir()), "the middle tier holds a batch")
            for worker in (edge, federation["middle"]):
                worker.kill()
        for worker in (federation["middle"], edge):
            worker.start()
        answers = sending.result()
    answers.append(send(edge.url, last, 1))

    assert all(isinstance(answer, UpdateReceipt) for answer in answers), answers
    assert ten_updates.are_exactly_in(master.published(1))
    for worker in (edge, federation["middle"]):
        assert not list((worker.state_dir / "spool").iterdir())
