"""An operator, a deadline, a cohort, the last round or a full disk decides what a round takes, and for how long."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from fedtier.rounds import RoundStatus
from tests.answers import problem
from tests.master_aggregator.answers import GOOD
from tests.masters import Master, publish_initial, rules, store_of, wait_until
from tests.s3_servers import S3Server


def test_the_operator_pauses_and_resumes(master: Master) -> None:
    assert master.http.post("/v1/pause").json["state"] == "paused"  # type: ignore[index]  # is JSON
    problem(master.send_update("a", GOOD), 503, "unavailable")
    assert master.http.post("/v1/resume").json["state"] == "collecting"  # type: ignore[index]  # is JSON
    assert master.send_update("a", GOOD).status_code == 200


def test_the_operator_closes_a_round_below_its_threshold(master: Master) -> None:
    master.send_update("a", GOOD)
    answer = master.http.post("/v1/rounds/1/close")
    assert answer.status_code == 200
    assert RoundStatus.from_json(answer.data).round in {1, 2}
    master.await_round(2)


def test_only_the_open_round_can_be_closed(undisturbed: Master) -> None:
    problem(undisturbed.http.post("/v1/rounds/0/close"), 409, "round-over")
    problem(undisturbed.http.post("/v1/rounds/2/close"), 409, "round-not-open")


def test_a_finished_federation_answers_and_takes_nothing(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=1, final_round=1)) as master:
        master.send_update("a", GOOD)
        master.await_round(2)
        status = master.get_round()
        assert (status["state"], status["round"], status["final_round"]) == ("finished", 2, 1)
        problem(master.send_update("a", GOOD, 2), 409, "round-not-open")
        problem(master.http.post("/v1/rounds/2/close"), 409, "round-not-open")
        assert master.http.get("/v1/rounds/1/model").status_code == 200
        assert master.finished.wait(30)


def test_a_cohort_takes_only_its_clients(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=None, clients=10, fraction=0.3)) as master:
        cohort = master.get_round()["cohort"]
        assert (len(cohort), master.get_round()["threshold"]) == (3, 3)
        other = next(f"client-{k}" for k in range(10) if f"client-{k}" not in cohort)
        problem(master.send_update(other, GOOD), 409, "not-selected")
        assert master.send_update(cohort[0], GOOD).status_code == 200


def test_rounds_that_close_before_their_deadline_leave_no_thread_waiting_for_it(
    s3_server: S3Server, tmp_path: Path
) -> None:
    def waiting() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]

    before = len(waiting())
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=1, deadline=3600.0)) as master:
        for number in (1, 2, 3, 4):
            assert master.send_update("client-a", GOOD, number).status_code == 200
            master.await_round(number + 1)
        wait_until(lambda: len(waiting()) <= before + 1)


def test_the_deadline_closes_a_round(s3_server: S3Server, tmp_path: Path) -> None:
    store = store_of(s3_server)
    publish_initial(store, tmp_path)
    with Master(store, tmp_path / "state", rules(threshold=9, deadline=0.3)) as master:
        master.send_update("a", GOOD, master.get_round()["round"])
        wait_until(lambda: master.get_round()["round"] >= 2)


def test_health_is_open_to_everyone(patient: Master) -> None:
    assert patient.http.get("/healthz").status_code == 200
    assert patient.http.get("/readyz").status_code == 200


def test_what_is_nowhere_is_404_and_another_method_405(undisturbed: Master) -> None:
    problem(undisturbed.http.get("/v2/round"), 404, "not-found")
    problem(undisturbed.http.put("/v1/rounds/1/updates/a/b", data=b"x"), 404, "not-found")
    problem(undisturbed.http.post("/v1/round"), 405, "method-not-allowed")


def test_a_full_disk_is_503_with_the_reason_and_counts_nothing(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        refusal = problem(master.send_update("a", GOOD), 503, "unavailable")
    assert refusal["detail"] == "the disk of the state directory is full"
    assert (master.get_round()["counted"], master.leftovers) == (0, [])
    assert master.send_update("a", GOOD).status_code == 200
