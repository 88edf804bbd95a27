"""The proof in containers of one machine: `compose.yaml`, read by podman-compose, becomes a federation that trains.

Its MinIO and its nginx are stand-ins, see `tests.infra.containers.stand_ins`; everything else is what users get.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.infra.compose.course import CLIENTS, LASTING, ROUNDS, WORKERS, Course, run_course
from tests.infra.containers.podman import Podman
from tests.infra.linters import linter
from tests.infra.programs import CHECKOUT

_USER = "10001"


@pytest.fixture(scope="module")
def podman(all_images: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    with Podman(tmp_path_factory.mktemp("compose"), all_images) as running:
        yield running


@pytest.fixture(scope="module")
def course(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """What was seen of one federation, lived before the first test that asks for it."""
    return run_course(podman, linter("podman-compose"), tmp_path_factory.mktemp("course"))


def test_nginx_takes_its_settings(podman: Podman) -> None:
    settings: Path = CHECKOUT / "infra" / "compose"
    run = ["run", "--rm", f"--volume={settings}:/infra:ro", "--add-host=worker-1:127.0.0.2", "--entrypoint=nginx"]
    image = ["docker.io/library/nginx:1.28", "-t", "-e", "stderr", "-c", "/infra/nginx.conf"]

    assert podman.run(*run, "--add-host=worker-2:127.0.0.3", *image, check=False).returncode == 0
    assert "worker-2" in podman.run(*run, *image, check=False).stderr, "both workers are in there"


def test_its_rounds_are_those_of_one_machine(course: Course, record_property: Callable[[str, object], None]) -> None:
    record_property("seconds", course.seconds)
    assert sorted(course.alone) == list(range(1, ROUNDS + 1))
    assert {number: fact["model_sha256"] for number, fact in course.published.items() if number} == course.alone


def test_every_client_is_counted_once_in_every_round(course: Course) -> None:
    assert {number: members for number, members in course.contributors.items() if number} == {
        number: list(CLIENTS) for number in range(1, ROUNDS + 1)
    }
    assert course.client_ends == [0] * len(CLIENTS) * ROUNDS


def test_both_workers_take_uploads(course: Course) -> None:
    assert all(course.counted[name] for name in WORKERS), course.counted
    assert set().union(*course.counted.values()) == set(CLIENTS)


def test_nobody_is_root_or_has_rights_or_writes_into_its_image(course: Course) -> None:
    nobody = {"Uid": _USER, "CapEff": "0000000000000000", "NoNewPrivs": "1"}

    assert course.processes == dict.fromkeys(LASTING, nobody)
    assert course.writable_roots == []
    assert course.unlimited == []


def test_services_are_healthy_and_answer_at_their_ports(course: Course) -> None:
    assert course.health == dict.fromkeys(("minio", "master", *WORKERS), 0)
    assert course.answers == {"https://127.0.0.1:8443/readyz": 200, "http://127.0.0.1:6006/": 200}


def test_each_service_holds_its_own_secrets_alone(course: Course) -> None:
    held = {name: secrets for name, secrets in course.held.items() if name != "credentials"}

    assert held == {
        **{name: set() for name in ("initial-model", "shard-0", "shard-1", "shard-2")},
        "minio": {"minio-key.pem", "s3.json"},
        "master": {"master-key.pem", "s3.json"},
        "worker-1": {"worker-1-key.pem", "worker-worker-1.token"},
        "worker-2": {"worker-2-key.pem", "worker-worker-2.token"},
        "nginx": set(),
        "tensorboard": set(),
        **{name: {f"client-{name}.token"} for name in CLIENTS},
    }


def test_no_log_has_a_secret(course: Course) -> None:
    assert len(course.secrets) > len(CLIENTS) + len(WORKERS)
    assert all(course.logs[name] for name in (*CLIENTS, "master", "worker-1", "worker-2", "credentials"))
    shown = {name for log in course.logs.values() for name, secret in course.secrets.items() if secret in log}
    assert shown == set()


def test_servers_end_by_themselves_and_nothing_is_left(course: Course) -> None:
    servers = ("master", *WORKERS, "nginx")

    assert {name: course.ends[name] for name in servers} == dict.fromkeys(servers, 0)
    assert course.left == []
