"""A round closes at its threshold, or at its deadline with its quorum; without, it says that it stays open.

Nothing here is measured: times are compared that the master wrote down.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedtier.problems import RoundOver
from fedtier.rounds import RoundManifest
from tests.masters import wait_until
from tests.system.clients import Client, write_model
from tests.system.federation import PATIENCE, Aggregator, Federation
from tests.system.updates import TenUpdates, send

pytestmark = pytest.mark.system

FAR = "3600"
STAYS_OPEN = "the deadline passed without the quorum; the round stays open"


def worker_under(federation: Federation, master: Aggregator) -> Aggregator:
    return federation.worker("worker", upstream=master.url)


def ids(manifest: RoundManifest) -> list[str]:
    return [contributor.client_id for contributor in manifest.contributors]


def closed_after(manifest: RoundManifest) -> timedelta:
    """Return how long after its deadline a round was closed."""
    assert manifest.deadline is not None
    return manifest.closed_at - manifest.deadline


def shown(server: str) -> tuple[str, int]:
    """Return what `fedtier status` prints of a server, on one line, and its exit status."""
    command = [sys.executable, "-m", "fedtier_cli.main", "status", "--server", server]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return " ".join(done.stdout.split()), done.returncode


def test_a_round_closes_at_its_deadline_with_its_quorum(federation: Federation, ten_updates: TenUpdates) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--min-clients", "2", "--deadline", "2")
    worker = worker_under(federation, master)
    for update in ten_updates.updates[:2]:
        send(worker.url, update, 1)

    manifest = master.published(1)

    assert ids(manifest) == ["client-0", "client-1"]
    assert closed_after(manifest) >= timedelta(0)


def test_a_round_without_its_quorum_stays_open_and_says_so_and_closes_with_it(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--min-clients", "3", "--deadline", "1")
    worker = worker_under(federation, master)
    send(worker.url, ten_updates.updates[0], 1)

    master.process.wait_until(lambda: bool(master.events(STAYS_OPEN)), "the master says that the round stays open")
    open_round = master.status()
    assert (open_round.round, open_round.state) == (1, "collecting")
    worker.process.wait_until(lambda: worker.status().counted == 1, "the worker knows")
    for server in (master, worker):
        table, status = shown(server.url)
        assert status == 0
        assert "1 of 10 clients counted, at least 3 at the deadline" in table
        assert "ago; stays open for 2 more" in table

    send(worker.url, ten_updates.updates[1], 1)
    assert master.status().state == "collecting"
    send(worker.url, ten_updates.updates[2], 1)
    manifest = master.published(1)

    assert ids(manifest) == ["client-0", "client-1", "client-2"]
    assert closed_after(manifest) > timedelta(0)
    said = [fact for fact in master.events(STAYS_OPEN) if fact["round"] == 1]
    assert [(fact["attempt"], fact["missing"] + fact["counted"]) for fact in said] == [(manifest.attempt, 3)]


def test_a_round_closes_at_its_threshold_before_its_deadline(federation: Federation, ten_updates: TenUpdates) -> None:
    master = federation.master(ten_updates.model, "--threshold", "2", "--min-clients", "1", "--deadline", FAR)
    worker = worker_under(federation, master)
    send(worker.url, ten_updates.updates[0], 1)
    assert master.status().state == "collecting"
    send(worker.url, ten_updates.updates[1], 1)

    manifest = master.published(1)

    assert ids(manifest) == ["client-0", "client-1"]
    assert closed_after(manifest) < timedelta(0)


def test_a_client_late_for_the_deadline_is_told_so_and_is_in_the_next_round(
    federation: Federation, ten_updates: TenUpdates, tmp_path: Path
) -> None:
    model = write_model(tmp_path)
    master = federation.master(model, "--threshold", "2", "--min-clients", "1", "--deadline", "2", "--rounds", "2")
    worker = worker_under(federation, master)
    late, punctual = Client(federation, "late"), Client(federation, "punctual")
    for client in (late, punctual):
        client.keep_in_training(1)
        client.start(worker.url, "--rounds", "2" if client is late else "1")
    late.await_training(1)
    punctual.end_training(1)
    worker.wait_for_round(2)

    with pytest.raises(RoundOver) as refused:
        send(worker.url, ten_updates.updates[0], 1)
    assert refused.value.members["round"] == 2
    late.end_training(1)
    assert late.await_fact("round-over")["round"] == 1
    assert late.await_fact("counted")["round"] == 2
    assert [client.process.wait() for client in (late, punctual)] == [0, 0]

    assert [ids(master.published(number)) for number in (1, 2)] == [["punctual"], ["late"]]


def test_a_deadline_is_a_moment_that_outlasts_a_killed_master_and_its_flags(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    *first, last = ten_updates.updates[:3]
    master = federation.master(ten_updates.model, "--threshold", "10", "--min-clients", "3", "--deadline", "2")
    opened = master.status()
    for update in first:
        send(master.url, update, 1)
    master.kill()

    master = federation.master(ten_updates.model, "--threshold", "10", "--min-clients", "5", "--deadline", FAR)
    worker = worker_under(federation, master)
    send(worker.url, last, 1)
    manifest = master.published(1)

    assert (manifest.deadline, manifest.min_clients) == (opened.deadline, 3)
    assert ids(manifest) == ["client-0", "client-1", "client-2"]
    assert closed_after(manifest) >= timedelta(0)
    assert master.status().min_clients == 5


def test_a_master_that_was_away_at_the_deadline_says_that_the_round_stays_open(
    federation: Federation, ten_updates: TenUpdates
) -> None:
    master = federation.master(ten_updates.model, "--threshold", "10", "--min-clients", "2", "--deadline", "1")
    send(master.url, ten_updates.updates[0], 1)
    deadline = master.status().deadline
    assert deadline is not None
    master.kill()
    wait_until(lambda: datetime.now(UTC) > deadline)
    master.start()

    assert master.events(STAYS_OPEN)[-1]["missing"] == 1
    send(master.url, ten_updates.updates[1], 1)
    assert ids(master.published(1)) == ["client-0", "client-1"]
