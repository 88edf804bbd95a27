"""The same ten updates give the same bytes, whatever way they take; the bytes are those of the definition."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from fedtier.problems import RoundOver
from fedtier.rounds import UpdateReceipt
from tests.system.federation import Aggregator, Federation
from tests.system.updates import TenUpdates, Update, send, send_at_once

pytestmark = pytest.mark.system


@dataclass(frozen=True)
class Worker:
    """A worker, under the master or under a worker above it in the list."""

    name: str
    under: str = "master"
    batch_max: int = 64
    batch_age: float = 0.25


@dataclass(frozen=True)
class Tree:
    """Workers, and the aggregators to which clients send."""

    workers: Sequence[Worker]
    doors: Sequence[str]


TREES = {
    "the master alone": Tree([], ["master"]),
    "one worker": Tree([Worker("a")], ["a"]),
    "one worker, batches of one": Tree([Worker("a", batch_max=1)], ["a"]),
    "three workers, batches of two": Tree(
        [Worker("a", batch_max=2), Worker("b", batch_max=2, batch_age=0), Worker("c", batch_max=2, batch_age=5)],
        ["a", "b", "c"],
    ),
    "workers three deep": Tree(
        [Worker("top"), Worker("middle", under="top", batch_max=1), Worker("edge", under="middle")], ["edge"]
    ),
    "a mixed tree": Tree(
        [
            Worker("a", batch_age=0),
            Worker("b", under="a", batch_max=2),
            Worker("c", under="a", batch_age=5),
        ],
        ["master", "a", "b", "c"],
    ),
}


def grow(federation: Federation, tree: Tree, updates: TenUpdates) -> list[Aggregator]:
    """Start a tree and return its doors."""
    federation.master(updates.model, "--threshold", "10")
    for worker in tree.workers:
        flags = ("--batch-max", str(worker.batch_max), "--batch-age", str(worker.batch_age))
        federation.worker(worker.name, *flags, upstream=federation[worker.under].url)
    return [federation[name] for name in tree.doors]


def one_after_the_other(doors: Sequence[Aggregator], updates: Sequence[Update], round_number: int) -> None:
    for number, update in enumerate(updates):
        send(doors[number % len(doors)].url, update, round_number)


def backwards_at_once(doors: Sequence[Aggregator], updates: Sequence[Update], round_number: int) -> None:
    deliveries = [(doors[number % len(doors)].url, update) for number, update in enumerate(updates)]
    send_at_once(deliveries[::-1], round_number)


def shuffled_with_repeats_elsewhere(doors: Sequence[Aggregator], updates: Sequence[Update], round_number: int) -> None:
    deliveries = [(doors[number % len(doors)].url, update) for number, update in enumerate(updates)]
    deliveries += [(doors[(number + 1) % len(doors)].url, update) for number, update in enumerate(updates)]
    random.Random(7).shuffle(deliveries)
    for (_, update), answer in zip(deliveries, send_at_once(deliveries, round_number), strict=True):
        # What comes after the tenth finds the round closed, and the manifest says that it counts.
        assert isinstance(answer, UpdateReceipt | RoundOver), answer
        assert isinstance(answer, RoundOver) or answer.sha256 == update.sha256


ORDERS: Sequence[Callable[[Sequence[Aggregator], Sequence[Update], int], None]] = (
    one_after_the_other,
    backwards_at_once,
    shuffled_with_repeats_elsewhere,
)


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_tree_order_batches_and_repeats_leave_the_bytes_alone(
    tree: Tree, federation: Federation, ten_updates: TenUpdates
) -> None:
    doors = grow(federation, tree, ten_updates)

    for round_number, deliver in enumerate(ORDERS, start=1):
        federation.wait_for_round(round_number)
        deliver(doors, ten_updates.updates, round_number)

        assert ten_updates.are_exactly_in(federation["master"].published(round_number)), deliver


def test_a_contributor_counted_elsewhere_is_left_out_of_a_batch_two_tiers_down(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    doors = grow(federation, Tree([Worker("top"), Worker("edge", under="top")], ["edge"]), ten_updates)
    master, (edge,) = federation["master"], doors
    first, twice, fresh, *rest = ten_updates.updates
    send(master.url, twice, 1)

    receipts = send_behind_a_batch_in_flight(master, edge, first, [twice, fresh])
    one_after_the_other(doors, rest, 1)

    assert [receipt.sha256 for receipt in receipts] == [first.sha256, twice.sha256, fresh.sha256]
    for aggregator in (federation["top"], edge):
        assert "already-counted" in [
            refusal["problem"] for refusal in aggregator.events("the upstream refused a batch")
        ]
    assert ten_updates.are_exactly_in(master.published(1))


def send_behind_a_batch_in_flight(
    master: Aggregator, edge: Aggregator, first: Update, together: Sequence[Update]
) -> list[UpdateReceipt]:
    """Send `together` so that they share a batch: they come while the master keeps the batch before from settling."""
    with ThreadPoolExecutor(1 + len(together)) as senders:
        with master.frozen():
            answers = [senders.submit(send, edge.url, first, 1)]
            wait_for_spooled(edge, bodies=1, batches=1)
            answers += [senders.submit(send, edge.url, update, 1) for update in together]
            wait_for_spooled(edge, bodies=1 + len(together), batches=1)
        return [answer.result() for answer in answers]


def wait_for_spooled(worker: Aggregator, *, bodies: int, batches: int) -> None:
    spool = worker.state_dir / "spool"
    worker.process.wait_until(lambda: len(list(spool.iterdir())) == bodies + batches, "the spool is filled")


def test_a_second_different_update_is_told_the_digest_of_the_first(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    doors = grow(federation, Tree([Worker("a"), Worker("b")], ["a", "b"]), ten_updates)
    first, *others = ten_updates.updates
    changed = Update(first.client_id, others[0].num_examples, others[0].path, others[0].sha256)

    receipts = [send(door.url, update, 1) for door, update in zip(doors, (first, changed), strict=True)]
    one_after_the_other(doors, others, 1)

    assert [receipt.sha256 for receipt in receipts] == [first.sha256, first.sha256]
    assert ten_updates.are_exactly_in(federation["master"].published(1))
