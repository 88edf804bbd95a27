from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_servers import S3Server
from tests.system.federation import Federation
from tests.system.three_tiers import three_tiers
from tests.system.tree import Tree
from tests.system.updates import TenUpdates, make_ten_updates


@pytest.fixture(scope="session")
def ten_updates(tmp_path_factory: pytest.TempPathFactory) -> TenUpdates:
    return make_ten_updates(tmp_path_factory.mktemp("updates"))


@pytest.fixture
def federation(tmp_path: Path, s3_server: S3Server, bucket_key: str) -> Iterator[Federation]:
    with Federation(tmp_path, s3_server, bucket_key) as federation:
        yield federation


@pytest.fixture(scope="module")
def lasting_tree(
    s3_server: S3Server, ten_updates: TenUpdates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tree]:
    """Three tiers that go on from test to test of a module; each test has a round of its own."""
    key = f"tests/{uuid.uuid4().hex}/model.safetensors"
    with three_tiers(tmp_path_factory.mktemp("tree"), s3_server, key, ten_updates) as tree:
        yield tree


@pytest.fixture
def tree(lasting_tree: Tree) -> Iterator[Tree]:
    """The tree of the module, in which nothing goes wrong any more that a test before expected."""
    yield lasting_tree
    lasting_tree.happened()
