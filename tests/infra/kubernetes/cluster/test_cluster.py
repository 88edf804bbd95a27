"""The cluster with a small application: pods run with the rights that they have, and what ends is there again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.infra.containers.podman import Podman
from tests.infra.kubernetes.cluster import Cluster
from tests.infra.kubernetes.cluster.network import NODE
from tests.infra.kubernetes.cluster.pod_state import PodState
from tests.infra.kubernetes.cluster.samples import application
from tests.infra.traces import mounts_below


@pytest.fixture(scope="module")
def podman(base_images: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    with Podman(tmp_path_factory.mktemp("podman"), base_images) as started:
        yield started


@pytest.fixture(scope="module")
def cluster(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The application, with two web servers that are ready and two pods of a Job that run."""
    with Cluster(podman, tmp_path_factory.mktemp("logs")) as started:
        started.apply(application())
        for pod in started.wait_for("web servers", lambda: _running(started, "web", "server")):
            _wait_for_words(started, pod, "server", "GET /readyz")
            assert not pod.is_ready
            started.exec(pod.pod.name, "server", "touch", "/tmp/ready")
        started.wait_for("web servers that are ready", lambda: started.ready("web"))
        started.wait_for("pods of the job", lambda: _running(started, "job", "main"))
        yield started


def _running(cluster: Cluster, owner: str, container: str) -> list[PodState]:
    """Return the pods of a workload that are not over, if all of them run."""
    pods = [pod for pod in cluster.pods(owner) if pod.phase not in {"Succeeded", "Failed"}]
    return pods if all(container in pod.running for pod in pods) else []


def _wait_for_words(cluster: Cluster, pod: PodState, container: str, words: str) -> None:
    cluster.wait_for(f"words {words}", lambda: words in cluster.log(pod.pod.name, container))


def _asked(podman: Podman, url: str) -> str:
    """Return what a server answers to whoever is on the node."""
    command = podman.inside(
        "python3", "-c", "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
    )
    return subprocess.run([*command, url], capture_output=True, text=True, check=False).stdout.strip()


def test_a_service_leads_to_its_pods_in_their_turn_by_name_and_port_of_the_node(
    cluster: Cluster, podman: Podman
) -> None:
    names = {pod.pod.name for pod in cluster.pods("web")}

    for url in ("http://web", "http://web.sample.svc.cluster.local", f"http://{NODE}:30080"):
        assert {_asked(podman, url), _asked(podman, url)} == names


def test_pods_find_services_by_name(cluster: Cluster) -> None:
    [first, *_] = cluster.pods("web")
    script = "import urllib.request as r; print(r.urlopen('http://web.sample').read().decode())"

    done = cluster.exec(first.pod.name, "server", "python3", "-c", script)

    assert done.stdout.strip() in {pod.pod.name for pod in cluster.pods("web")}, done.stderr


def test_a_container_has_the_rights_and_limits_of_its_manifest(cluster: Cluster) -> None:
    [first, *_] = cluster.pods("web")

    def printed(script: str) -> list[str]:
        return cluster.exec(first.pod.name, "server", "sh", "-c", script).stdout.split()

    assert printed("id -u; id -g") == ["10001", "10001"]
    assert set(printed("grep ^Cap /proc/self/status | cut -f2")) == {"0" * 16}
    assert printed("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | cut -f2") == ["1", "2"]
    assert printed("touch /file 2>/dev/null || echo refused") == ["refused"]
    assert printed("dd if=/dev/zero of=/tmp/full bs=2M count=1 2>/dev/null || echo full; rm /tmp/full") == ["full"]
    assert printed("echo $WHO") == ["hello", "$(POD)"]


def test_who_takes_more_memory_than_a_container_may_is_killed(cluster: Cluster) -> None:
    [first, *_] = cluster.pods("web")

    done = cluster.exec(first.pod.name, "server", "python3", "-c", "bytearray(200 << 20)")

    assert done.returncode == 137


def test_a_container_that_is_killed_is_there_again_with_the_folder_of_its_pod(cluster: Cluster) -> None:
    [first, *_] = cluster.pods("web")

    cluster.signal(first.pod.name, "server", "KILL")

    cluster.wait_for("end of the container", lambda: first.restarts)
    cluster.wait_for("web server that is ready again", lambda: cluster.ready("web"))
    assert cluster.exec(first.pod.name, "server", "test", "-e", "/tmp/ready").returncode == 0


def test_each_pod_of_a_job_sees_its_own_secret_alone(cluster: Cluster) -> None:
    for pod in cluster.pods("job"):
        secret = {0: "zero", 1: "one"}[pod.pod.index or 0]
        _wait_for_words(cluster, pod, "main", str(pod.pod.index))
        assert cluster.log(pod.pod.name, "main") == f"{secret}{pod.pod.index}\n"
        assert cluster.exec(pod.pod.name, "main", "stat", "-c", "%a %u %g", "/etc/token").stdout == "440 0 10001\n"


def test_a_pod_of_a_job_that_is_killed_is_made_anew_from_the_start(cluster: Cluster) -> None:
    [killed] = [pod for pod in cluster.pods("job") if pod.pod.index == 1]

    cluster.signal(killed.pod.name, "main", "KILL")

    cluster.wait_for("end of the pod", lambda: killed.phase == "Failed")
    [*_, again] = cluster.wait_for("pod of the job", lambda: _running(cluster, "job", "main"))
    assert killed.statuses["main"] == 137
    assert again.pod.name != killed.pod.name
    assert again.statuses == {"before": 0}, "its init container ran, too"


def test_a_pod_that_is_deleted_ends_in_good_order_and_is_replaced(cluster: Cluster) -> None:
    [first, *_] = cluster.pods("web")

    cluster.delete_pod(first.pod.name)

    cluster.wait_for("end of the pod", lambda: first.pod.name not in {pod.pod.name for pod in cluster.pods("web")})
    assert len(cluster.wait_for("its successor", lambda: _running(cluster, "web", "server"))) == 2


def test_nothing_has_more_in_it_than_it_may(cluster: Cluster) -> None:
    assert cluster.volumes_over_limit() == []


def test_nothing_is_left_of_a_cluster_whose_test_failed(base_images: Mapping[str, str], tmp_path: Path) -> None:
    with (  # noqa: PT012
        pytest.raises(ZeroDivisionError) as caught,
        Podman(tmp_path, base_images) as own,
        Cluster(own, tmp_path) as cluster,
    ):
        cluster.apply(application())
        cluster.wait_for("pods", lambda: _running(cluster, "job", "main"))
        assert mounts_below(tmp_path)
        raise ZeroDivisionError

    assert mounts_below(tmp_path) == []
    assert "job-0" in "".join(caught.value.__notes__)
