from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_servers import S3Server
from tests.system.federation import Federation
from tests.system.updates import TenUpdates, make_ten_updates


@pytest.fixture(scope="session")
def ten_updates(tmp_path_factory: pytest.TempPathFactory) -> TenUpdates:
    return make_ten_updates(tmp_path_factory.mktemp("updates"))


@pytest.fixture
def federation(tmp_path: Path, s3_server: S3Server, bucket_key: str) -> Iterator[Federation]:
    with Federation(tmp_path, s3_server, bucket_key) as federation:
        yield federation
