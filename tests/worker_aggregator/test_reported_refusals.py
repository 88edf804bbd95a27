"""What workers refuse reaches the master, and through it TensorBoard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from flask import Flask, request

from fedtier.problems import Unavailable
from fedtier.rounds import RoundPlan, RoundStatus
from fedtier.serving.refusals import HEADER, read_report
from fedtier.store import RoundStore
from fedtier.tokens import TokenVerifier, generate_keys
from master_aggregator.scoreboard import Pauses, Scoreboard
from tests.builders import trained, update_bytes
from tests.masters import PATIENCE, Master, rules, wait_until
from tests.scalars import Point, read_scalars
from tests.tokens import presented
from tests.workers import Worker, served

BODY = update_bytes(trained(1))
PRIVATE, PUBLIC = generate_keys()
token = partial(presented, PRIVATE)


@contextmanager
def scored_master(store: RoundStore, folder: Path, verifier: TokenVerifier | None = None) -> Iterator[Master]:
    with unstarted_master(store, folder, verifier) as master:
        try:
            yield master
        finally:
            master.tier.close()


def unstarted_master(store: RoundStore, folder: Path, verifier: TokenVerifier | None = None) -> Master:
    scoreboard = Scoreboard(store, folder / "scores", Pauses(3600, 3600))
    return Master(store, folder / "master", rules(threshold=2, clients=5), verifier=verifier, scoreboard=scoreboard)


def publish_round(master: Master, number: int) -> None:
    for client_id in ("client-0", "client-1"):
        assert master.send_update(client_id, BODY, number).status_code == 200
    master.await_round(number + 1)


def counts(folder: Path, tag: str) -> list[Point]:
    return read_scalars(folder / "scores").get(tag, [])


class Reports:
    """Adds up what an app's pollers report."""

    def __init__(self, app: Flask) -> None:
        self._counts: Counter[str] = Counter()
        app.before_request(self._see)

    def _see(self) -> None:
        self._counts.update(read_report(request.headers.get(HEADER)))

    def are(self, **expected: int) -> bool:
        return dict(self._counts) == {name.replace("_", "-"): number for name, number in expected.items()}


def reported(app: Flask, number: int, **headers: str) -> None:
    """Poll as a worker does, with a report."""
    answer = app.test_client().get("/v1/round", headers={HEADER: f"round-over={number}", **headers})
    assert answer.status_code == 200


def test_what_two_tiers_of_workers_refuse_is_counted_once_in_the_masters_next_round(
    store: RoundStore, tmp_path: Path
) -> None:
    with scored_master(store, tmp_path) as master, ExitStack() as stack:
        reports = Reports(master.app)
        url, _ = stack.enter_context(served(master.app))
        middle = stack.enter_context(Worker(url, tmp_path / "middle")).ready()
        middle_url, _ = stack.enter_context(served(middle.app))
        edge = stack.enter_context(Worker(middle_url, tmp_path / "edge")).ready()
        publish_round(master, 1)
        for worker in (middle, edge):
            wait_until(lambda worker=worker: plan(worker).round == 2)  # type: ignore[misc]

        refused = [
            *(edge.send_update("client-3", BODY, 1).status_code for _ in range(2)),
            *(middle.send_update("client-3", BODY, 1).status_code for _ in range(3)),
            edge.send_update("stranger", BODY, 2).status_code,
        ]
        wait_until(lambda: reports.are(round_over=5, not_selected=1))
        publish_round(master, 2)

    assert refused == [409] * 6
    assert counts(tmp_path, "updates/late") == [(1, 0.0), (2, 5.0)]
    assert counts(tmp_path, "updates/refused/not-selected") == [(2, 1.0)]


def plan(worker: Worker) -> RoundPlan:
    return worker.tier.status()


def test_an_update_that_the_master_refuses_through_a_worker_is_counted_once(store: RoundStore, tmp_path: Path) -> None:
    """The worker took it, and hears only from the master that the round is over."""
    with scored_master(store, tmp_path) as master, ExitStack() as stack:
        reports = Reports(master.app)
        url, way = stack.enter_context(served(master.app))
        worker = stack.enter_context(Worker(url, tmp_path / "worker", batch_age=0.01)).ready()
        way.close()
        with ThreadPoolExecutor(1) as senders:
            sending = senders.submit(worker.send_update, "client-3", BODY, 1)
            assert way.arrived.acquire(timeout=PATIENCE)
            publish_round(master, 1)
            way.open()
        wait_until(lambda: reports.are(round_over=1))
        publish_round(master, 2)

    assert sending.result().status_code == 409
    assert counts(tmp_path, "updates/late") == [(1, 0.0), (2, 1.0)]


def test_what_could_not_be_reported_is_reported_later(
    store: RoundStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scored_master(store, tmp_path) as master, ExitStack() as stack:
        reports = Reports(master.app)
        outages: list[None] = []
        known = master.tier.status

        def status() -> RoundStatus:
            if outages:
                raise Unavailable("no round is known just now", retry_after=1)
            return known()

        monkeypatch.setattr(master.tier, "status", status)
        url, _ = stack.enter_context(served(master.app))
        worker = stack.enter_context(Worker(url, tmp_path / "worker")).ready()
        outages.append(None)
        wait_until(lambda: worker.tier.unready() is not None)
        assert worker.send_update("stranger", BODY, 1).status_code == 409
        wait_until(lambda: not reports.are())  # it came, and got no good answer
        outages.clear()
        wait_until(lambda: worker.tier.unready() is None)
        publish_round(master, 1)

    assert counts(tmp_path, "updates/refused/not-selected") == [(1, 1.0)]


def test_a_report_that_is_answered_with_a_problem_is_not_counted_for_it_comes_again(
    store: RoundStore, tmp_path: Path
) -> None:
    master = unstarted_master(store, tmp_path)
    for _ in range(3):
        assert master.http.get("/v1/round", headers={HEADER: "round-over=2"}).status_code == 503
    with master:
        reported(master.app, 2)
        publish_round(master, 1)
        master.tier.close()

    assert counts(tmp_path, "updates/late") == [(1, 2.0)]


def test_only_workers_are_believed_where_keys_are_used(store: RoundStore, tmp_path: Path) -> None:
    with scored_master(store, tmp_path, TokenVerifier([PUBLIC])) as master:
        reported(master.app, 100, **token("client", "client-0"))
        reported(master.app, 200, **token("operator", "somebody"))
        reported(master.app, 3, **token("worker", "edge"))
        for client_id in ("client-0", "client-1"):
            answer = master.send_update(client_id, BODY, headers=token("client", client_id))
            assert answer.status_code == 200
        wait_until(lambda: master.tier.status().round == 2)

    assert counts(tmp_path, "updates/late") == [(1, 3.0)]


def test_a_malformed_report_is_answered_all_the_same(store: RoundStore, tmp_path: Path) -> None:
    with scored_master(store, tmp_path) as master:
        answer = master.http.get("/v1/round", headers={HEADER: "round-over=1, " + "x" * 4000})
        publish_round(master, 1)

    assert answer.status_code == 200
    assert counts(tmp_path, "updates/late") == [(1, 0.0)]
