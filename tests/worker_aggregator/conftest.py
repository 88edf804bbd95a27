"""Fixtures of workers' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtier.store import RoundStore
from tests.masters import publish_initial, store_of
from tests.s3_servers import S3Server
from tests.worker_aggregator.batches import Bench


@pytest.fixture
def store(s3_server: S3Server, tmp_path: Path) -> RoundStore:
    """A store with an initial model, for the master above the workers."""
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    return store


@pytest.fixture
def bench() -> Bench:
    """A core that knows a round."""
    return Bench()
