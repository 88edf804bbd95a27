"""Workers in front of real masters: what they answer, and that everyone counts once whatever happens between."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from fedtier.rounds import RoundManifest, RoundPlan, RoundStatus
from fedtier.store import RoundStore
from tests.answers import problem
from tests.builders import partial_bytes, sum_of, trained, update_bytes
from tests.hostile.make import hostile_files
from tests.masters import PATIENCE, Hasty, Master, publish_initial, put, rules, store_of, wait_until
from tests.s3_servers import S3Server
from tests.workers import Way, Worker, served
from worker_aggregator import aggregator

BODIES = {f"client-{seed}": update_bytes(trained(seed), seed + 10) for seed in range(8)}


def digest(client_id: str) -> str:
    return hashlib.sha256(BODIES[client_id]).hexdigest()


def plan_of(tier: Master | Worker) -> RoundPlan:
    return RoundStatus.from_json(tier.http.get("/v1/round").data).plan


def partial_of(tier: Master | Worker, *seeds: int, **header: Any) -> bytes:
    members = {f"client-{seed}": (trained(seed), seed + 10) for seed in seeds}
    return partial_bytes(plan_of(tier), members, header=header)


class Federation:
    """A master whose round closes at a number of clients, served; workers come and go."""

    def __init__(self, store: RoundStore, folder: Path, master: Master, url: str, way: Way) -> None:
        self.store, self.folder, self.master, self.url, self.way = store, folder, master, url, way
        self.pool = ThreadPoolExecutor(16)

    def worker(self, name: str = "worker", **options: Any) -> Worker:
        return Worker(options.pop("master", self.url), self.folder / name, **options)

    def send(self, worker: Worker, client_id: str, body: bytes | None = None) -> Future[TestResponse]:
        """Send an update from a thread of its own."""
        return self.pool.submit(worker.send_update, client_id, body or BODIES[client_id])

    def contributors(self, number: int = 1) -> dict[str, str]:
        """Return who is in a round's manifest, with their digests."""
        manifest = self.master.http.get(f"/v1/rounds/{number}/manifest").json
        assert manifest is not None
        return {c["client_id"]: c["sha256"] for c in manifest["contributors"]}


@pytest.fixture
def federation(store: RoundStore, tmp_path: Path) -> Iterator[Federation]:
    with (
        Master(store, tmp_path / "master", rules(threshold=4)) as master,
        served(master.app) as (url, way),
    ):
        made = Federation(store, tmp_path, master, url, way)
        yield made
        way.open()
        made.pool.shutdown()


def assert_published(federation: Federation, seeds: range) -> None:
    """Check that round 1 has exactly these clients, and that its model is the exact mean of their updates."""
    federation.master.await_round(2)
    assert federation.contributors() == {f"client-{seed}": digest(f"client-{seed}") for seed in seeds}
    opening = federation.master.http.get("/v1/rounds/1/manifest").data
    total = sum_of(RoundManifest.from_json(opening), [(trained(seed), seed + 10) for seed in seeds])
    model = federation.master.http.get("/v1/rounds/1/model").data
    for tensor in total.plan.summed:
        assert b"".join(chunk.tobytes() for chunk in total.mean(tensor)) in model, tensor.name


def occupied(worker: Worker, federation: Federation, *client_ids: str) -> list[Future[TestResponse]]:
    """Hold up what a worker sends, have a batch of the first client in flight and one of the others open."""
    federation.way.close()
    while federation.way.arrived.acquire(blocking=False):
        pass  # uploads from before
    first = federation.send(worker, client_ids[0])
    assert federation.way.arrived.acquire(timeout=30)
    before = worker.tier._core.unsettled
    others = [federation.send(worker, client_id) for client_id in client_ids[1:]]
    wait_until(lambda: worker.tier._core.unsettled == before + len(others))
    return [first, *others]


# Counting


def test_an_update_is_counted_on_the_masters_answer(federation: Federation) -> None:
    with federation.worker() as worker:
        answer = worker.ready().send_update("client-1", BODIES["client-1"])
        assert answer.status_code == 200
        assert answer.json == {
            "round": 1,
            "attempt": 2,
            "client_id": "client-1",
            "counted": True,
            "sha256": digest("client-1"),
        }
        assert federation.master.get_round()["counted"] == 1
        worker.await_empty_spool()


def test_updates_that_come_together_travel_as_one_partial(federation: Federation) -> None:
    with federation.worker() as worker:
        worker.ready()
        answers = occupied(worker, federation, "client-0", "client-1", "client-2", "client-3")
        federation.way.open()
        assert [answer.result().status_code for answer in answers] == [200] * 4
    assert len(federation.way.uploads) == 2
    assert_published(federation, range(4))


def test_a_retried_update_is_counted_once_and_its_rival_is_told_the_first_digest(federation: Federation) -> None:
    other = update_bytes(trained(99), 77)
    with federation.worker("a") as first, federation.worker("b") as second:
        first.ready()
        second.ready()
        assert first.send_update("client-1", BODIES["client-1"]).status_code == 200
        answers = occupied(second, federation, "client-0", "client-2")
        rival = federation.send(second, "client-1", other)
        wait_until(lambda: second.tier._core.unsettled == 3)
        federation.way.open()
        assert [answer.result().status_code for answer in answers] == [200, 200]
        assert rival.result().json["sha256"] == digest("client-1")  # type: ignore[index]  # is JSON
        assert second.send_update("client-3", BODIES["client-3"]).status_code == 200
        second.await_empty_spool()
    assert_published(federation, range(4))


def test_a_repeat_joins_the_wait_of_the_first(federation: Federation) -> None:
    with federation.worker() as worker:
        worker.ready()
        (first,) = occupied(worker, federation, "client-1")
        again = federation.send(worker, "client-1", update_bytes(trained(50), 3))
        wait_until(lambda: any(worker.tier._core._joined.values()))
        federation.way.open()
        assert first.result().json == again.result().json
        worker.await_empty_spool()
    assert federation.master.get_round()["counted"] == 1


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_reply_changes_nothing(federation: Federation, lost: int) -> None:
    with federation.worker() as worker:
        worker.ready()
        federation.way.lost_replies = lost
        answer = worker.send_update("client-1", BODIES["client-1"])
        assert (answer.status_code, answer.json["sha256"]) == (200, digest("client-1"))  # type: ignore[index]
        worker.await_empty_spool()
    assert [status for _, status in federation.way.uploads] == [200] + [409] * lost
    assert federation.master.get_round()["counted"] == 1


def test_pauses_of_a_batch_that_is_sent_again_double_up_to_five_seconds(federation: Federation) -> None:
    rng = HastySender()
    with federation.worker(rng=rng) as worker:
        worker.ready()
        federation.way.lost_replies = 9
        assert worker.send_update("client-1", BODIES["client-1"]).status_code == 200
    assert [longest for _, longest in rng.pauses] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


class HastySender(Hasty):
    """Is hasty with batches, whose pauses are drawn from zero on, and not with polls."""

    def uniform(self, a: float, b: float) -> float:
        return super().uniform(a, b) if a == 0 else b


def published_model(store: RoundStore, folder: Path, groups: list[list[int]], *, deep: bool) -> bytes:
    """Publish a round of updates that take several ways, and return its model."""
    with (
        Master(store, folder / "master", rules(threshold=sum(map(len, groups)))) as master,
        served(master.app) as (url, way),
        Worker(url, folder / "near") as near,
        served(near.ready().app) as (near_url, _),
        Worker(near_url if deep else url, folder / "far", batch_max=2) as far,
    ):
        federation = Federation(store, folder, master, url, way)
        far.ready()
        answers = [
            federation.send((near, far)[number % 2], f"client-{seed}")
            for number, seeds in enumerate(groups)
            for seed in seeds
        ]
        assert [answer.result().status_code for answer in answers] == [200] * len(answers)
        master.await_round(2)
        return bytes(master.http.get("/v1/rounds/1/model").data)


def test_the_same_contributors_give_the_same_bytes_through_any_tree(s3_server: S3Server, tmp_path: Path) -> None:
    models = set()
    for number, (groups, deep) in enumerate(
        [([[0, 1, 2, 3, 4, 5]], False), ([[5, 1], [4, 0, 3], [2]], False), ([[2], [1, 3, 5], [], [4, 0]], True)]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        store = store_of(s3_server)
        publish_initial(store, folder)
        models.add(published_model(store, folder, groups, deep=deep))
    assert len(models) == 1


def test_what_counted_already_is_left_out_through_two_tiers(federation: Federation) -> None:
    """The far worker's partial is taken out of the near worker's batch, and then the one client out of the partial."""
    with (
        federation.worker("near") as near,
        served(near.ready().app) as (near_url, near_way),
        federation.worker("far", master=near_url) as far,
    ):
        far.ready()
        assert federation.master.send_update("client-1", BODIES["client-1"]).status_code == 200
        near_way.close()
        head = federation.send(far, "client-0")
        assert near_way.arrived.acquire(timeout=30)
        rest = [federation.send(far, "client-1", update_bytes(trained(70), 5)), federation.send(far, "client-2")]
        wait_until(lambda: far.tier._core.unsettled == 3)
        near_way.open()
        assert head.result().status_code == 200
        assert [answer.result().status_code for answer in rest] == [200, 200]
        assert rest[0].result().json["sha256"] == digest("client-1")  # type: ignore[index]  # is JSON
        assert near.send_update("client-3", BODIES["client-3"]).status_code == 200
        near.await_empty_spool()
        far.await_empty_spool()
    assert_published(federation, range(4))


def test_a_partial_is_relayed_and_a_replayed_one_gets_the_list(federation: Federation) -> None:
    with federation.worker() as worker:
        worker.ready()
        body = partial_of(worker, 1, 2)
        answer = worker.send_partial(body, batch_id="batch-1")
        assert answer.json == {"round": 1, "attempt": 2, "batch_id": "batch-1", "counted": 2}
        again = problem(worker.send_partial(body, batch_id="batch-1"), 409, "already-counted")
        assert again["counted"] == [{"client_id": c, "sha256": digest(c)} for c in ("client-1", "client-2")]
        assert (again["round"], again["attempt"]) == (1, 2)
        worker.await_empty_spool()


# Rounds, attempts, masters that go away


def test_a_new_attempt_sends_clients_again_and_tells_workers(federation: Federation, tmp_path: Path) -> None:
    with federation.worker() as worker:
        worker.ready()
        old = partial_of(worker, 3)
        assert worker.send_update("client-1", BODIES["client-1"]).status_code == 200
        with Master(federation.store, tmp_path / "new disk", rules(threshold=4)) as successor:
            federation.way._app = successor.app
            wait_until(lambda: plan_of(worker).attempt == 3)
            refusal = problem(worker.send_partial(old), 409, "attempt-over")
            assert (refusal["round"], refusal["attempt"]) == (1, 3)
            answer = worker.send_update("client-1", BODIES["client-1"])
            assert (answer.status_code, answer.json["attempt"]) == (200, 3)  # type: ignore[index]  # is JSON
            worker.await_empty_spool()


def test_a_batch_of_an_attempt_that_is_over_sends_its_clients_again(federation: Federation, tmp_path: Path) -> None:
    with federation.worker() as worker:
        worker.ready()
        (answer,) = occupied(worker, federation, "client-1")
        with Master(federation.store, tmp_path / "new disk", rules(threshold=4)) as successor:
            federation.way._app = successor.app
            federation.way.open()
            assert int(answer.result().headers["Retry-After"]) >= 1
            problem(answer.result(), 503, "unavailable")
            wait_until(lambda: plan_of(worker).attempt == 3)
            assert worker.send_update("client-1", BODIES["client-1"]).status_code == 200
            worker.await_empty_spool()


def test_the_next_round_is_known_when_a_client_asks_for_it(federation: Federation) -> None:
    with federation.worker() as worker:
        worker.ready()
        for k in range(4):
            federation.master.send_update(f"client-{k}", BODIES[f"client-{k}"])
        federation.master.await_round(2)
        assert worker.send_update("client-1", BODIES["client-1"], 2).status_code == 200
        problem(worker.send_update("client-2", BODIES["client-2"], 1), 409, "round-over")


def test_while_the_upstream_is_lost_uploads_are_refused_and_readyz_says_so(federation: Federation) -> None:
    now = [0.0]
    with (
        served(federation.master.app) as (url, _),
        federation.worker(master=url, clock=lambda: now[0]) as worker,
    ):
        worker.ready()
    with worker.app.app_context():
        wait_until(lambda: worker.http.get("/readyz").status_code == 503)
        assert url in problem(worker.http.get("/readyz"), 503, "unavailable")["detail"]
        now[0] = aggregator.LOST_AFTER
        assert worker.tier.admit(1, "client-1").round == 1, "it may be back before the upload is"
        now[0] += 1
        # The reason tells it from an upload that was taken and got no answer in time.
        assert url in problem(worker.send_update("client-1", BODIES["client-1"]), 503, "unavailable")["detail"]
        assert worker.http.get("/healthz").status_code == 200


def test_a_worker_that_never_heard_of_a_round_says_so(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregator, "NEWS_WITHIN", 0.0)
    worker = federation.worker()
    for answer in (
        worker.http.get("/v1/round"),
        worker.http.get("/readyz"),
        worker.http.get("/v1/rounds/0/model"),
        worker.send_update("client-1", BODIES["client-1"]),
    ):
        problem(answer, 503, "unavailable")


def test_while_no_round_is_known_few_wait_for_it_and_the_others_are_told_at_once(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregator, "NEWS_WITHIN", PATIENCE)
    worker = federation.worker()  # whose upstream is not asked before it is started
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(worker.http.get, "/v1/round") for _ in range(20)]
        told = [answer.result().status_code for answer in islice(as_completed(answers), 16)]
        assert told == 16 * [503]
        worker.tier.start()
        assert sorted(answer.result().status_code for answer in answers) == 4 * [200] + 16 * [503]


def test_an_answer_that_is_no_receipt_counts_nobody(federation: Federation) -> None:
    """Another server at the master's address may answer 200 to anything."""
    with federation.worker() as worker:
        worker.ready()
        real, liars = federation.way._app, [1]

        def lying(environ: dict[str, Any], start_response: Any) -> Any:
            if environ["REQUEST_METHOD"] == "PUT" and liars:
                liars.pop()
                start_response("200 OK", [("Content-Length", "2")])
                return [b"{}"]
            return real(environ, start_response)

        federation.way._app = lying  # type: ignore[assignment]  # any WSGI app will do
        assert worker.send_update("client-1", BODIES["client-1"]).status_code == 200
        assert not liars
    assert federation.master.get_round()["counted"] == 1


# What a worker answers itself


@pytest.fixture
def calm(federation: Federation) -> Iterator[Worker]:
    """A worker that refuses what it is sent: nothing is counted by it, and nothing is left behind."""
    with federation.worker() as worker:
        yield worker.ready()
        worker.await_empty_spool()
        assert federation.master.get_round()["counted"] == 0
        assert federation.way.uploads == []


def test_a_worker_shows_its_upstreams_round_with_a_pace_of_its_own(federation: Federation, calm: Worker) -> None:
    mine, upstream = calm.http.get("/v1/round").json, federation.master.get_round()
    assert mine is not None
    assert {**mine, "poll_after": 0} == {**upstream, "poll_after": 0}


def test_an_unchanged_round_is_304(calm: Worker) -> None:
    etag = calm.http.get("/v1/round").headers["ETag"]
    assert calm.http.get("/v1/round", headers={"If-None-Match": etag}).status_code == 304


def test_models_and_manifests_come_through_with_digests_and_ranges(federation: Federation, calm: Worker) -> None:
    upstream = federation.master.http.get("/v1/rounds/0/model")
    mine = calm.http.get("/v1/rounds/0/model")
    assert (mine.data, mine.headers["Repr-Digest"]) == (upstream.data, upstream.headers["Repr-Digest"])
    part = calm.http.get("/v1/rounds/0/model", headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.data) == (206, upstream.data[5:10])
    problem(calm.http.get("/v1/rounds/0/model", headers={"Range": "bytes=9999999-"}), 416, "range-not-satisfiable")
    assert calm.http.get("/v1/rounds/0/manifest").data == federation.master.http.get("/v1/rounds/0/manifest").data


def test_what_is_fetched_does_not_need_a_connection_each(calm: Worker) -> None:
    calm.http.get("/v1/rounds/0/model")
    for _ in range(3):
        assert calm.http.get("/v1/rounds/0/manifest").status_code == 200
    # One sends batches, one watches the round, one fetches; one more where a client asks during the prefetch.
    assert calm.connections <= 4


@pytest.mark.parametrize("path", ["/v1/rounds/1/model", "/v1/rounds/7/model", "/v1/rounds/1/manifest", "/v1/x"])
def test_what_is_not_published_is_404(calm: Worker, path: str) -> None:
    problem(calm.http.get(path), 404, "not-found")


def test_a_worker_has_no_operators_routes(calm: Worker) -> None:
    for path in ("/v1/rounds/1/close", "/v1/pause", "/v1/resume"):
        problem(calm.http.post(path), 404, "not-found")


@pytest.mark.parametrize("what", ["updates", "partials"])
def test_hostile_files_are_refused_and_leave_nothing(calm: Worker, what: str) -> None:
    for name, hostile in hostile_files().items():
        answer = put(calm.http, f"/v1/rounds/1/{what}/a", hostile.data)
        assert answer.status_code in {400, 413, 422}, (name, answer.status_code)
        assert calm.leftovers == [], name


def test_what_is_wrong_is_refused_by_the_worker(calm: Worker) -> None:
    nan = trained(1)
    nan["conv.bias"][0] = float("nan")
    problem(calm.send_update("a", update_bytes(nan)), 422, "not-finite")
    problem(calm.send_update("a", update_bytes(trained(1), "0")), 400, "bad-request")
    problem(calm.send_update("a b", BODIES["client-1"]), 400, "bad-request")
    problem(calm.send_update("a", BODIES["client-1"], 0), 409, "round-over")
    problem(calm.send_update("a", BODIES["client-1"], 9), 409, "round-not-open")
    problem(
        calm.send_update("a", BODIES["client-1"], headers={"Content-Type": "text/plain"}), 415, "unsupported-media-type"
    )
    problem(calm.send_partial(partial_of(calm, 1, total_weight=3)), 400, "bad-request")
    problem(calm.send_partial(partial_of(calm, 1, attempt=1)), 409, "attempt-over")
    problem(calm.send_partial(partial_of(calm, 1, attempt=9)), 503, "unavailable")


def test_a_paused_round_is_paused_at_the_worker(federation: Federation, calm: Worker) -> None:
    federation.master.http.post("/v1/pause")
    wait_until(lambda: calm.http.get("/v1/round").json["state"] == "paused")  # type: ignore[index]  # is JSON
    problem(calm.send_update("client-1", BODIES["client-1"]), 503, "unavailable")
