from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.datasets.mnist import FILES, public_sources


@pytest.fixture(scope="session")
def mnist_cache() -> Path:
    """A directory with the four MNIST files, fetched once per checkout."""
    named = os.environ.get("FEDTIER_DATA_CACHE")
    cache = Path(named) if named else Path(__file__).parents[2] / ".fedtier" / "data"
    FILES.fetch(cache, public_sources({"FEDTIER_MNIST_MIRRORS": ""}))
    return cache
