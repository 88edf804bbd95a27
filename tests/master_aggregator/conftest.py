"""Masters that tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders import trained, update_bytes
from tests.masters import Master, publish_initial, rules, store_of
from tests.s3_servers import S3Server


@pytest.fixture(scope="module")
def patient(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    """A master whose round stays open, with `client-0` counted: what is refused must not change it."""
    folder = tmp_path_factory.mktemp("patient")
    store = store_of(s3_server)
    publish_initial(store, folder)
    with Master(store, folder / "state", rules(threshold=50)) as master:
        assert master.send_update("client-0", update_bytes(trained(0), 10)).status_code == 200
        yield master


@pytest.fixture
def undisturbed(patient: Master) -> Iterator[Master]:
    """The shared master; whatever it was sent, nothing is left behind and nobody else is counted."""
    yield patient
    assert patient.leftovers == []
    assert patient.get_round()["counted"] == 1
    assert patient.get_round()["state"] == "collecting"


@pytest.fixture
def master(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    """A master whose rounds close at two clients."""
    folder = tmp_path_factory.mktemp("master")
    store = store_of(s3_server)
    publish_initial(store, folder)
    with Master(store, folder / "state") as master:
        yield master
