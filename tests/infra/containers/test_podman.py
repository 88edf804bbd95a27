"""The podman of tests itself: others lean on its being apart from the machine, and on its leaving nothing behind."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from tests.infra.containers.podman import Podman
from tests.infra.traces import children, control_groups_of, mounts_below

NGINX = "docker.io/library/nginx:1.28"
MINIO = "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
PYTHON = "docker.io/library/python:3.12-slim"
_SECONDS = 120.0


@pytest.fixture(scope="module")
def podman(base_images: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    with Podman(tmp_path_factory.mktemp("podman"), base_images) as running:
        running.run("network", "create", "--subnet=10.89.7.0/24", "net")
        running.run("run", "--detach", "--name=web", "--network=net", NGINX)
        yield running


def test_containers_reach_each_other_by_name_and_a_thread_of_the_test_by_address(podman: Podman) -> None:
    page = podman.output("run", "--rm", "--network=net", NGINX, "curl", "--silent", "http://web/")
    url = f"http://{podman.address('web', 'net')}/"
    networks = [Path("/proc/thread-self/ns/net").readlink()]
    with podman.network():
        networks.append(Path("/proc/thread-self/ns/net").readlink())
        seen = requests.get(url, timeout=60).text
    networks.append(Path("/proc/thread-self/ns/net").readlink())

    assert "Welcome to nginx" in page
    assert seen.strip() == page.strip()
    assert networks[0] == networks[2] != networks[1]


def test_the_machines_network_is_left_alone(podman: Podman) -> None:
    words = podman.inside("cat", "/proc/sys/net/ipv4/ip_forward")
    forwards = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    with podman.network():
        inside = {name for _, name in socket.if_nameindex()}

    added = inside - {"lo"}
    assert forwards == "1\n"
    assert added
    assert not added & {name for _, name in socket.if_nameindex()}


def test_nothing_is_fetched(podman: Podman) -> None:
    done = podman.run("run", "--rm", "docker.io/library/never-heard-of:1", check=False)

    assert done.returncode == 125


def test_a_container_gets_no_more_memory_than_it_may_have(podman: Podman) -> None:
    grow = "print(len(bytearray(1 << 20)), flush=True); print(len(b'x' * (256 << 20)))"
    done = podman.run(*("run", "--rm", "--memory=64m", "--memory-swap=64m", PYTHON, "python", "-c", grow), check=False)

    assert (done.returncode, done.stdout) == (137, "1048576\n")


def test_nginx_takes_settings_for_the_official_one(podman: Podman) -> None:
    settings = podman.folder / "stream.conf"
    settings.write_text(
        "pid /tmp/nginx.pid;\nerror_log stderr warn;\nevents {}\n"
        f"stream {{ server {{ listen 8080; proxy_pass {podman.address('web', 'net')}:80; }} }}\n"
    )
    podman.run(
        *("run", "--detach", "--name=balancer", "--network=net", "--user=101:101", "--read-only", "--tmpfs=/tmp"),
        f"--volume={settings}:/etc/nginx/nginx.conf:ro",
        NGINX,
    )

    assert "Welcome" in _page(podman, f"http://{podman.address('balancer', 'net')}:8080/")
    podman.run("stop", "balancer")
    assert podman.inspect("balancer")["State"]["ExitCode"] == 0, podman.logs("balancer")


def test_minio_is_as_healthy_as_it_says(podman: Podman) -> None:
    podman.run(
        *("run", "--detach", "--name=minio", "--network=net", "--volume=data:/data"),
        *("--env=MINIO_ROOT_USER=tests", "--env=MINIO_ROOT_PASSWORD=tests-of-s3", MINIO),
        *("server", "/data", "--console-address", ":9001"),
    )
    url = f"http://{podman.address('minio', 'net')}:9000"

    _page(podman, f"{url}/minio/health/live")

    with podman.network():
        assert requests.get(url, timeout=60).status_code == 403
    podman.run("exec", "minio", "curl", "--fail", "http://127.0.0.1:9000/minio/health/live")


def test_nothing_is_left_of_containers_whose_starter_was_killed(base_images: Mapping[str, str], tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.infra.containers.podman import Podman\n"
        f"with Podman(Path(sys.argv[1]), {{'{NGINX}': '{base_images[NGINX]}'}}) as podman:\n"
        f"    podman.run('run', '--detach', '--name=web', '{NGINX}')\n"
        "    print(podman.inspect('web')['State']['Pid'], flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline().strip().isdigit()
        [boot] = children(starter.pid)
        watched = [os.pidfd_open(pid) for pid in _descendants(boot)]

        starter.send_signal(signal.SIGKILL)

        for descriptor in watched:  # readable when the process is gone
            assert select.select([descriptor], [], [], _SECONDS)[0]
            os.close(descriptor)
    assert len(watched) > 4
    assert (mounts_below(tmp_path), control_groups_of(tmp_path), list(tmp_path.iterdir())) == ([], [], [])


def _page(podman: Podman, url: str) -> str:
    """Return what is at a URL, once it is there."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        with podman.network():
            try:
                response = requests.get(url, timeout=10)
            except requests.ConnectionError:
                continue
        if response.ok:
            return response.text
    raise AssertionError(f"no answer at {url}: {[podman.logs(one['Names'][0]) for one in podman.containers()]}")


def _descendants(pid: int) -> list[int]:
    return [pid, *(found for child in children(pid) for found in _descendants(child))]
