"""Whatever schemathesis sends, with whatever token: answers are those of the OpenAPI document, and nothing is harmed.

`FEDTIER_FUZZ_EXAMPLES=500 pytest -s tests/system/test_storms.py --timeout=0` sends as many cases of each operation.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import requests

from fedtier.entries import Received, read_update
from fedtier.rounds import RoundStatus
from fedtier.sum_files import write_partial
from fedtier.tokens import Role
from tests.s3_servers import S3Server
from tests.system.federation import PATIENCE, Aggregator, Federation
from tests.system.guards import Guard
from tests.system.storms import AtRest, Storm, served_document, storm
from tests.system.updates import TenUpdates, Update

pytestmark = pytest.mark.system

EXAMPLES: Final = int(os.environ.get("FEDTIER_FUZZ_EXAMPLES", "6"))
THREADS: Final = 12
BEARERS: Final[dict[str, tuple[Role, str] | None]] = {
    "nobody": None,
    "a client": ("client", "client-0"),
    "a worker": ("worker", "a-worker"),
    "an operator": ("operator", "an-operator"),
}
"""The operator comes last: it pauses the round, and asks for its end, which the quorum of ten keeps from coming."""


@dataclass(frozen=True)
class Scene:
    """Two aggregators that ask for tokens, and the bodies of which one is counted, whoever sends it how often."""

    federation: Federation
    keys: Guard
    folder: Path
    updates: TenUpdates

    @property
    def aggregators(self) -> list[Aggregator]:
        return [self.federation["master"], self.federation["worker"]]

    def bearing(self, role: Role, subject: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys.token(role, subject)}"}

    def send(self, aggregator: Aggregator, update: Update) -> requests.Response:
        return requests.put(
            f"{aggregator.url}/v1/rounds/1/updates/{update.client_id}",
            data=update.path.read_bytes(),
            headers=self.bearing("client", update.client_id),
            timeout=PATIENCE,
        )

    def resume(self) -> None:
        master = self.federation["master"]
        requests.post(
            f"{master.url}/v1/resume", headers=self.bearing("operator", "test"), timeout=PATIENCE
        ).raise_for_status()

    def storm(self, aggregator: Aggregator, who: str) -> Storm:
        bearer = BEARERS[who]
        header = {} if bearer is None else self.bearing(*bearer)
        return storm(aggregator, served_document(aggregator), self.folder, header=header, examples=EXAMPLES)


@pytest.fixture
def scene(tmp_path: Path, s3_server: S3Server, bucket_key: str, ten_updates: TenUpdates) -> Iterator[Scene]:
    keys = Guard(tmp_path / "keys", tls=False)
    with Federation(tmp_path, s3_server, bucket_key, guard=keys) as federation:
        threads = ("--threads", str(THREADS))
        master = federation.master(ten_updates.model, "--threshold", "10", "--min-clients", "10", *threads)
        federation.worker("worker", *threads, upstream=master.url)
        scene = Scene(federation, keys, tmp_path, ten_updates)
        (tmp_path / "bodies").mkdir()
        shutil.copy(ten_updates.updates[0].path, tmp_path / "bodies" / "update")
        write_partial_of(master.status(), ten_updates.updates[1], tmp_path / "bodies" / "partial")
        yield scene


def write_partial_of(status: RoundStatus, update: Update, path: Path) -> None:
    entry = read_update(status.plan, update.client_id, Received(update.path.name, update.path, update.sha256))
    write_partial(status.plan, [entry], path)


def test_storms_with_every_token_and_none_are_answered_as_described_and_change_no_sum(scene: Scene) -> None:
    before = [AtRest(aggregator) for aggregator in scene.aggregators]

    storms: dict[str, Storm] = {}
    for who in BEARERS:
        with ThreadPoolExecutor(len(scene.aggregators)) as at_once:
            begun = {a.name: at_once.submit(scene.storm, a, who) for a in scene.aggregators}
            storms |= {f"{who} at the {name}": found.result() for name, found in begun.items()}
    print("\n".join(f"{name}: {found.cases} cases" for name, found in storms.items()))

    for name, found in storms.items():
        assert not found.faults, f"{name}: {found.faults}\n{found.output}"
        assert found.cases > 0, name
    for rested in before:
        rested.assert_again()
    assert not [fact for a in scene.aggregators for fact in a.events("a request failed")]
    scene.resume()
    assert scene.federation["master"].status().counted == 2  # one of the client's storm, one of the worker's
    scene.federation["worker"].process.wait_until(
        lambda: "counted" in scene.send(scene.federation["worker"], scene.updates.updates[0]).text, "uploads are taken"
    )
    for number, update in enumerate(scene.updates.updates):
        answer = scene.send(scene.aggregators[number % 2], update)
        assert answer.status_code == 200, answer.text
        assert answer.json()["sha256"] == update.sha256
    assert scene.updates.are_exactly_in(scene.federation["master"].published(1))
