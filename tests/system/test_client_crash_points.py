"""A client killed at every point where it hurts is in the round all the same, with the one update that it sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtier.crash_points import CrashPoint
from fedtier.tensors import write_arrays
from tests.s3_servers import S3Server
from tests.system import wanderer
from tests.system.faults import Killed
from tests.system.federation import Federation
from tests.system.points import TAKING_PART
from tests.system.tree import Tree

pytestmark = pytest.mark.system

CLIENTS = ("client-0", "client-1", "client-2")


@pytest.fixture(scope="module")
def federation_of_three(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """Three clients in endless rounds, each of which waits for all three."""
    folder: Path = tmp_path_factory.mktemp("clients")
    key = f"tests/{uuid.uuid4().hex}/model.safetensors"
    model = folder / "initial.safetensors"
    with model.open("wb") as file:
        write_arrays(file, wanderer.Wanderer(folder).initial_model(0))
    task = f"{wanderer.__file__}:{wanderer.Wanderer.__name__}"
    with Federation(folder, s3_server, key) as federation, Tree(federation, folder / "sent") as tree:
        tree.master(model, "--threshold", str(len(CLIENTS)))
        tree.worker("worker", upstream="master")
        for client_id in CLIENTS:
            tree.client(client_id, "--data", wanderer.__file__, "--task", task, entrance="worker")
        yield tree


@pytest.mark.parametrize("point", TAKING_PART)
def test_a_client_killed_anywhere_counts_once_and_sends_no_second_update(
    point: CrashPoint, federation_of_three: Tree
) -> None:
    tree = federation_of_three
    number = tree.open_round() + 2
    fault = Killed("client-0", round=number, at=point)
    tree.expect(fault)

    tree.published(number + 1)  # with the round after it: the last point lies behind the end of the round

    assert tree.happened() == [fault]
    manifest = tree.published(number)
    assert tuple(c.client_id for c in manifest.contributors) == CLIENTS
    for contributor in manifest.contributors:
        assert tree.ledger.digests(number)[contributor.client_id] == {contributor.sha256}
