"""The proof on real hosts: bare machines become a federation that trains, survives its machines, and is upgraded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.infra.bare_metal import CLIENTS, DISTURBED, UPGRADED, WORKERS, Course, run_course
from tests.infra.hosts import Hosts, why_not_here
from tests.infra.hosts.__main__ import site

pytestmark = [
    pytest.mark.skipif(why_not_here() is not None, reason=why_not_here() or ""),
    pytest.mark.timeout(2700),  # machines become ready, and rounds are trained, twice
]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """What was seen of one federation, lived before the first test that asks for it."""
    folder = tmp_path_factory.mktemp("bare-metal")
    (folder / "hosts").mkdir()
    with Hosts(folder / "hosts", site(workers=WORKERS, clients=CLIENTS)) as hosts:
        return run_course(hosts, folder)


def test_bare_machines_become_a_federation_that_trains_as_one_machine_does(
    course: Course, record_property: Callable[[str, object], None]
) -> None:
    record_property("seconds", course.seconds)
    assert len(course.plays["first"].changed) == WORKERS + CLIENTS + 3
    assert all(course.plays["first"].changed.values())
    assert course.published == course.undisturbed
    assert sorted(course.published) == list(range(1, UPGRADED + 1))


def test_a_second_run_changes_nothing(course: Course) -> None:
    assert set(course.plays["again"].changed.values()) == {0}, course.plays["again"].printed


def test_a_round_outlives_the_hosts_of_a_worker_and_of_the_master(course: Course) -> None:
    before = course.held["before"]

    assert before["round"] in range(2, DISTURBED + 1)
    for moment in ("without a worker", "after"):
        seen = course.held[moment]
        assert (seen["round"], seen["counted"]) == (before["round"], CLIENTS - 1)
    assert course.published[before["round"]] == course.undisturbed[before["round"]]


def test_all_hosts_get_another_release_in_mid_round(course: Course) -> None:
    held = course.held["before the upgrade"]["round"]
    seen = [fact for fact in course.watched if fact.get("round") == held]

    assert all(before != after for before, after in course.releases.values()), course.releases
    assert len({fact["attempt"] for fact in seen}) == 1
    assert min(fact["counted"] for fact in seen) == CLIENTS - 1
    assert not [fact for fact in course.watched if "away" in fact]
    assert course.published[held] == course.undisturbed[held]


def test_workers_are_upgraded_one_after_the_other(course: Course) -> None:
    stops_and_starts = [moment for handover in course.handovers for moment in handover]

    assert len(stops_and_starts) == 2 * WORKERS
    assert stops_and_starts == sorted(stops_and_starts)


def test_secrets_are_in_files_of_the_services_alone_and_nowhere_else(course: Course) -> None:
    assert {line for lines in course.secret_files.values() for line in lines.splitlines()} == {"600 fedtier"}
    assert all("ansible" in told for told in course.told.values()), "modules write into the journal what they are told"
    told = [*course.told.values(), *(play.printed for play in course.plays.values())]
    assert len(course.secrets) > WORKERS + CLIENTS
    assert not [secret[:8] for secret in course.secrets if any(secret in words for words in told)]


def test_nothing_runs_after_stop(course: Course) -> None:
    assert set(course.still_running.values()) == {""}, course.still_running
