"""Mutated uploads to real aggregators: answered as described, without delay, and summed exactly as far as accepted.

`FEDTIER_FUZZ_EXAMPLES=5000 pytest -s tests/system/test_fuzzed_uploads.py --timeout=0` sends so many of each kind.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fedtier.problems import MEDIA_TYPE
from fedtier.rounds import RoundStatus
from fedtier.serving.front.limits import Limits
from tests.builders import model_arrays, partial_bytes, safetensors, trained, update_bytes
from tests.described import MASTER
from tests.hostile.mutations import mutated
from tests.hostile.raw_requests import RawRequest, broken, upload
from tests.s3_servers import S3Server
from tests.system.accounts import Account, contributors_of
from tests.system.federation import PATIENCE, Federation
from tests.system.raw_http import Answer, exchange
from tests.system.storms import AtRest

pytestmark = pytest.mark.system

EXAMPLES: Final = int(os.environ.get("FEDTIER_FUZZ_EXAMPLES", "250"))
THREADS: Final = 12
DROPPED: Final = Limits().drain_bytes
PLACE: Final = b"part-00000000"
"""A contributor in every partial, whose name each example changes, so that it is not counted already."""
LIKE_IT_IS = settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.explicit, Phase.generate]
)
"""Nothing is made smaller: what a server answers depends on all that it was sent before."""


class Scene:
    """A master with a worker under it, in whose round there is room for any number of clients; both take anyone."""

    def __init__(self, federation: Federation, model: bytes) -> None:
        self.federation = federation
        self.status: RoundStatus = federation["master"].status()
        self.account = Account(model, self.status.weight_limit)
        self.promised: dict[str, str] = {}
        self.outcomes: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._at_rest = [AtRest(federation[name]) for name in ("master", "worker")]
        plan = self.status.plan
        self.updates = [update_bytes(trained(k), 2**k, {"loss": k, "accuracy": 0.5}) for k in (1, 5)]
        self.partials = [
            partial_bytes(plan, {PLACE.decode(): (trained(3), 3), "part-of-all": (trained(4), 4)}),
            partial_bytes(plan, {PLACE.decode(): (trained(5), 700)}),
        ]

    def named(self, body: bytes) -> bytes:
        """Return a partial with a contributor of its own."""
        return body.replace(PLACE, b"part-%08d" % next(self._numbers))

    def send(self, to: str, request: RawRequest) -> list[Answer]:
        """Send it, and take note of what was promised."""
        aggregator = self.federation[to]
        self.account.sent(request.body)
        answers = exchange((aggregator.host, aggregator.port), request.to_bytes())
        for answer in answers:
            self._note(request.body, answer)
        self.outcomes.update([str(answer.status) for answer in answers] or ["no answer"])
        return answers

    def _note(self, body: bytes, answer: Answer) -> None:
        receipt: dict[str, Any] = json.loads(answer.body) if answer.status == 200 else {}
        if "client_id" in receipt:
            first = self.promised.setdefault(receipt["client_id"], receipt["sha256"])
            assert first == receipt["sha256"]
        elif "batch_id" in receipt:
            assert receipt["counted"] == len(contributors_of(body))
            self.promised |= contributors_of(body)

    def assert_unharmed(self) -> None:
        """Check that nothing is left behind, and that the round is the exact mean of what was accepted."""
        print(dict(self.outcomes))
        self.send("worker", upload("/v1/rounds/1/updates/the-last", self.updates[0]))
        assert self.promised
        for rested in self._at_rest:
            rested.assert_again()
        master = self.federation["master"]
        for name in ("master", "worker"):
            for failure in ("a request failed", "a thread was lost"):
                assert not self.federation[name].events(failure)
        requests.post(f"{master.url}/v1/rounds/1/close", timeout=PATIENCE).raise_for_status()
        counted = {c.client_id: c.sha256 for c in master.published(1).contributors}
        assert self.promised.items() <= counted.items()
        assert master.get("/v1/rounds/1/model").content == self.account.model_of(counted)


@pytest.fixture
def scene(tmp_path: Path, s3_server: S3Server, bucket_key: str) -> Iterator[Scene]:
    model = tmp_path / "model.safetensors"
    model.write_bytes(safetensors(model_arrays()))
    with Federation(tmp_path, s3_server, bucket_key) as federation:
        threads = ("--threads", str(THREADS))
        master = federation.master(model, "--threshold", "100000", *threads)
        federation.worker("worker", *threads, upstream=master.url)
        yield Scene(federation, model.read_bytes())


TO = st.sampled_from(["worker", "master"])
CLIENTS = st.integers(0, 30).map(lambda number: f"/v1/rounds/1/updates/client-{number}")
BATCHES = st.integers(0, 30).map(lambda number: f"/v1/rounds/1/partials/batch-{number}")


def test_mutated_bodies_are_answered_as_described_and_what_is_accepted_is_summed_exactly(scene: Scene) -> None:
    @LIKE_IT_IS
    @given(TO, CLIENTS, mutated(scene.updates + scene.partials[:1]))
    def send_updates(to: str, path: str, body: bytes) -> None:
        assert_described(path, scene.send(to, upload(path, body)))

    @LIKE_IT_IS
    @given(TO, BATCHES, mutated(scene.partials + scene.updates[:1]))
    def send_partials(to: str, path: str, body: bytes) -> None:
        assert_described(path, scene.send(to, upload(path, scene.named(body))))

    send_updates()
    send_partials()

    scene.assert_unharmed()


def test_broken_heads_are_answered_or_cut_off_and_what_is_accepted_is_summed_exactly(scene: Scene) -> None:
    goods = st.one_of(
        st.tuples(CLIENTS, st.sampled_from(scene.updates)), st.tuples(BATCHES, st.sampled_from(scene.partials))
    )

    @LIKE_IT_IS
    @given(TO, goods, st.data())
    def send(to: str, good: tuple[str, bytes], data: st.DataObject) -> None:
        path, body = good
        request = data.draw(broken(upload(path, scene.named(body))))
        answers = scene.send(to, request)
        # Who goes on sending after a refusal is cut off in the end, and may lose the answer by that.
        assert answers or request.cut is not None or len(request.to_bytes()) > DROPPED, request.to_bytes()[:300]
        for answer in answers:
            assert_refusal_or_success(answer)

    send()

    scene.assert_unharmed()


def assert_described(path: str, answers: list[Answer]) -> None:
    (answer,) = answers
    headers = {"-".join(part.capitalize() for part in name.split("-")): value for name, value in answer.headers.items()}
    MASTER.check("PUT", path, answer.status, headers, answer.body)


def assert_refusal_or_success(answer: Answer) -> None:
    if answer.status == 200:
        return
    assert 400 <= answer.status < 500 or answer.status == 503, answer
    assert answer.headers["content-type"] == MEDIA_TYPE, answer
    MASTER.check_problem(json.loads(answer.body))
