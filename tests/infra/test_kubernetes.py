"""The proof in pods: the real manifests and the real images train as one machine does, whatever is killed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.infra.containers.podman import Podman
from tests.infra.kubernetes.quantities import quantity
from tests.infra.minikube.course import ROUNDS, SERVERS, WORKERS, Course, run_course
from tests.infra.minikube.federation import CLIENTS
from tests.infra.traces import control_groups_of, mounts_below


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("minikube")


@pytest.fixture(scope="module")
def course(all_images: Mapping[str, str], folder: Path) -> Course:
    """What was seen of one federation, lived before the first test that asks for it."""
    with Podman(folder, all_images) as podman:
        return run_course(podman, folder)


def test_pods_train_as_one_machine_does(course: Course, record_property: Callable[[str, object], None]) -> None:
    record_property("seconds", course.seconds)
    published = {number: manifest["model"]["sha256"] for number, manifest in course.published.items()}

    assert sorted(published) == list(range(1, ROUNDS + 1))
    assert published == course.undisturbed


def test_every_client_is_counted_once_in_every_round(course: Course) -> None:
    for manifest in course.published.values():
        counted = sorted(one["client_id"] for one in manifest["contributors"])
        assert counted == [f"client-{number}" for number in range(CLIENTS)]


def test_all_workers_take_updates(course: Course) -> None:
    assert len(course.contributors) == WORKERS
    assert all(course.contributors.values()), course.contributors


def test_a_round_outlives_a_worker_and_the_master(course: Course) -> None:
    before, after = course.held["before"], course.held["after"]

    assert before["round"] in range(2, ROUNDS + 1)
    assert {name: after[name] for name in ("round", "attempt", "counted")} == {
        name: before[name] for name in ("round", "attempt", "counted")
    }
    killed = sorted(name for name, restarts in course.restarts.items() if restarts)
    assert [name.rpartition("-")[0] for name in killed] == ["master-aggregator", "worker-aggregator"]


def test_clients_go_on_in_other_pods(course: Course) -> None:
    # Killed, and told to end: the second leaves well, and is not done for all that.
    for what, status in (("killed", 137), ("drained", 143)):
        first, second = course.tries[what]
        assert (first.phase, first.statuses["client"]) == ("Failed", status)
        assert (second.phase, second.pod.index) == ("Succeeded", first.pod.index)
    assert course.is_complete


def test_servers_are_ready_after_the_last_round(course: Course) -> None:
    assert course.are_ready == dict.fromkeys(SERVERS, True)


def test_containers_have_no_rights_and_no_token_of_the_cluster(course: Course) -> None:
    assert {container for _, container in course.sights} == {
        *("master-aggregator", "tensorboard", "worker-aggregator", "s3", "tls", "client")
    }
    for place, sight in course.sights.items():
        assert set(sight.user) == {"10001"}, place
        # No capability; nothing that gives any, NoNewPrivs is 1; and a filter of system calls, Seccomp is 2.
        assert sight.rights == {"0" * 16, "1", "2"}, place
        assert sight.tokens == (), place


def test_the_root_of_every_container_is_read_only(course: Course) -> None:
    for place, sight in course.sights.items():
        assert all(said.endswith("Read-only file system") for said in sight.writes), (place, sight.writes)


def test_limits_of_memory_are_in_force(course: Course) -> None:
    for place, sight in course.sights.items():
        assert sight.memory == quantity(course.limits[place]), place
    assert course.too_much == 137


def test_secrets_are_for_the_group_of_the_pod_alone(course: Course) -> None:
    for place, sight in course.sights.items():
        files = {path: mode for path, mode in sight.files.items() if not path.startswith("/etc/fedtier/nginx/")}
        assert set(files.values()) <= {"440 0 10001"}, (place, files)
    clients = {place: sight for place, sight in course.sights.items() if place[1] == "client"}
    assert len(clients) == CLIENTS
    assert all("/etc/fedtier/token" in sight.files for sight in clients.values())


def test_no_pod_would_have_been_evicted(course: Course) -> None:
    assert course.overfull == []


def test_tensorboard_shows_the_training(course: Course) -> None:
    assert "loss" in course.tensorboard, course.tensorboard


def test_nothing_is_left(course: Course, folder: Path) -> None:
    assert course.published
    assert (mounts_below(folder), control_groups_of(folder), list(folder.glob("podman-*"))) == ([], [], [])
