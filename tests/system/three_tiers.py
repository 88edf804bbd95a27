"""A master, a worker under it and two under that one, to which the same ten updates are sent round after round."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from fedtier.problems import Problem
from fedtier.rounds import UpdateReceipt
from tests.s3_servers import S3Server
from tests.system.federation import Federation
from tests.system.guards import Guard
from tests.system.lasting_s3 import LastingS3
from tests.system.tree import Tree
from tests.system.updates import TenUpdates, send_at_once

EDGES = ("edge-1", "edge-2")


@contextlib.contextmanager
def three_tiers(
    folder: Path, s3_server: S3Server, key: str, ten_updates: TenUpdates, *, s3: LastingS3 | None = None
) -> Iterator[Tree]:
    """Start them, and end them; everyone shows a token, and a round closes when all ten have come."""
    guard = Guard(folder / "keys", tls=False)
    with Federation(folder, s3_server, key, guard) as federation, Tree(federation, folder / "sent", s3=s3) as tree:
        tree.master(ten_updates.model, "--threshold", "10")
        tree.worker("middle", upstream="master")
        for edge in EDGES:
            tree.worker(edge, upstream="middle")
        yield tree


def send_all(tree: Tree, ten_updates: TenUpdates, round_number: int) -> list[UpdateReceipt | Problem]:
    """Send five updates through either edge, again and again until they are answered."""
    urls = [tree.ways[edge].url for edge in EDGES]
    deliveries = [(urls[i % 2], update) for i, update in enumerate(ten_updates.updates)]
    return send_at_once(deliveries, round_number, tree.federation.guard)


def assert_round_is_exact(tree: Tree, ten_updates: TenUpdates, round_number: int) -> None:
    """Check that a round counted each of the ten once, made the predicted bytes, and kept every promise."""
    manifest = tree.published(round_number)
    assert ten_updates.are_exactly_in(manifest)
    counted = {c.client_id: c.sha256 for c in manifest.contributors}
    for promise in tree.ledger.promises(round_number):
        assert promise.attempt < manifest.attempt or counted[promise.client_id] == promise.sha256
