"""The course of a training in pods, from nothing to the last round, with what was seen on the way."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.infra.containers.podman import Podman
from tests.infra.kubernetes.cluster import Cluster
from tests.infra.kubernetes.cluster.pod_state import PodState
from tests.infra.minikube.federation import CLIENTS, Federation
from tests.infra.minikube.mirror import mnist_mirror
from tests.infra.minikube.sight import Sight, look_into
from tests.infra.programs import CHECKOUT, FEDTIER, Facts

WORKERS = 2
ROUNDS = 7
SERVERS = ("s3", "master-aggregator", "worker-aggregator")
"""The workloads that stay."""

_DRAINED, _KILLED = 0, CLIENTS - 1
"""Clients, by their index."""

_CONTRIBUTORS = """
import os, ssl, urllib.request
context = ssl.create_default_context(cafile=os.environ["FEDTIER_CA_CERTS"])
request = urllib.request.Request("https://localhost:5001/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
for line in urllib.request.urlopen(request, context=context):
    if line.startswith(b"fedtier_contributors_total "):
        print(int(float(line.split()[1])))
"""
_TENSORBOARD = "import urllib.request as r; print(r.urlopen('http://tensorboard:6006/data/plugin/scalars/tags').read())"


@dataclass
class Course:
    """What was seen."""

    undisturbed: dict[int, str] = field(default_factory=dict)
    """The SHA-256 of each round's model, of a run on this machine."""

    published: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The manifest of each round, of the run in pods."""

    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the master said of the open round, before pods were killed and after."""

    contributors: dict[str, int] = field(default_factory=dict)
    """How many updates each worker's pod brought to the master: the one that was killed before that, others in all."""

    restarts: dict[str, int] = field(default_factory=dict)
    """How often containers of each server's pod were started again, in the end."""

    tries: dict[str, list[PodState]] = field(default_factory=dict)
    """The pods of the client that was killed, and of the one whose node was drained, first to last."""

    limits: dict[tuple[str, str], str] = field(default_factory=dict)
    """What the manifests let each container have of memory, by pod and container."""

    sights: dict[tuple[str, str], Sight] = field(default_factory=dict)
    """What was found within each of them in mid-round."""

    overfull: list[str] = field(default_factory=list)
    """Volumes for which a real kubelet would have evicted their pods."""

    too_much: int = 0
    """The status of a program that took all the memory that TensorBoard's container may have."""

    tensorboard: str = ""
    """What TensorBoard answered after that."""

    is_complete: bool = False
    """Whether the Job was, in the end."""

    are_ready: dict[str, bool] = field(default_factory=dict)
    """Whether all pods of each workload that stays were ready in the end."""

    seconds: dict[str, float] = field(default_factory=dict)


def run_course(podman: Podman, folder: Path) -> Course:
    """Live through it."""
    course = Course()
    federation = Federation(folder / "checkout", ROUNDS)
    with (
        _timed(course, "whole"),
        mnist_mirror(podman, folder) as mirror,
        ThreadPoolExecutor(max_workers=1) as pool,
        Cluster(podman, folder) as cluster,
    ):
        undisturbed = pool.submit(_train_here, federation, folder)
        with _timed(course, "boot"):
            cluster.apply(federation.objects(mirror))
            _wait_for_servers(cluster)
        _train_disturbed(course, cluster, podman, federation, folder)
        _look_at_the_end(course, cluster, podman)
        course.undisturbed = undisturbed.result()
    return course


def _train_here(federation: Federation, folder: Path) -> dict[int, str]:
    """Train as the pods are to, on this machine and with nothing in its way."""
    words = [FEDTIER, "train", *federation.training(), "--workers", str(WORKERS), "--run-dir", str(folder / "here")]
    with Facts([*words, "--json"], folder / "here.log", {"FEDTIER_HOME": str(CHECKOUT)}) as training:
        return {fact["round"]: fact["sha256"] for fact in training.finish() if fact["event"] == "published"}


def _train_disturbed(course: Course, cluster: Cluster, podman: Podman, federation: Federation, folder: Path) -> None:
    """Train; killed in mid-round are a worker, the master, and then the client that this round waits for.

    Another client's node is drained at the same time.
    """
    with _status(podman, federation, folder / "status-before.log") as status, _timed(course, "first round"):
        status.wait_for(lambda fact: (fact.get("newest") or {}).get("round", 0) >= 1)
        killed = _pod_of_client(cluster, _KILLED)
        # It stands still, so that the round stays open; the others are counted.
        cluster.signal(killed.pod.name, "client", "STOP")
        course.held["before"] = status.wait_for(_is_held)
    token = federation.operator_token.read_text().strip()
    workers = cluster.pods("worker-aggregator")
    counts = {one.pod.name: _contributors(cluster, one, token) for one in workers}
    busiest = max(workers, key=lambda one: counts[one.pod.name])
    _look_around(course, cluster)
    _kill_servers(course, cluster, busiest)
    with _status(podman, federation, folder / "status-after.log") as status:
        course.held["after"] = status.wait_for(_is_held)
    _lose_clients(course, cluster, killed)
    for one in workers:
        name = one.pod.name
        course.contributors[name] = counts[name] if one is busiest else _contributors(cluster, one, token)


def _kill_servers(course: Course, cluster: Cluster, worker: PodState) -> None:
    """Kill a worker and the master, and wait until they are back."""
    [master] = cluster.pods("master-aggregator")
    with _timed(course, "until both are back"):
        for server, container in ((worker, "worker-aggregator"), (master, "master-aggregator")):
            cluster.signal(server.pod.name, container, "KILL")
            cluster.wait_for(f"end of {container}", functools.partial(_restarts, server))
        _wait_for_servers(cluster)


def _lose_clients(course: Course, cluster: Cluster, killed: PodState) -> None:
    """Drain a client's node and kill another client, and wait until the Job is over for all that."""
    drained = _pod_of_client(cluster, _DRAINED)
    with _timed(course, "clients again, and the rest"):
        cluster.delete_pod(drained.pod.name)
        cluster.signal(killed.pod.name, "client", "KILL")
        job = cluster.job("clients")
        # A client that is drained and counts as done would be missed by every later round.
        cluster.wait_for("end of the Job", lambda: job.is_complete or job.has_failed or drained.phase == "Succeeded")
    for what, first in (("drained", drained), ("killed", killed)):
        others = [one for one in cluster.pods("clients") if one.pod.index == first.pod.index and one is not first]
        course.tries[what] = [first, *others]


def _pod_of_client(cluster: Cluster, index: int) -> PodState:
    return next(one for one in cluster.pods("clients") if one.pod.index == index)


def _is_held(fact: Mapping[str, Any]) -> bool:
    return (fact.get("counted"), fact.get("state")) == (CLIENTS - 1, "collecting")


def _restarts(pod: PodState) -> int:
    return pod.restarts


def _wait_for_servers(cluster: Cluster) -> None:
    for owner in SERVERS:
        cluster.wait_for(f"{owner} that is ready", functools.partial(cluster.ready, owner))


def _look_around(course: Course, cluster: Cluster) -> None:
    """Look into every container that runs."""
    for state in (one for owner in (*SERVERS, "clients") for one in cluster.pods(owner)):
        for container in state.pod.spec.containers:
            place = state.pod.name, container.name
            course.limits[place] = container.resources.limits.memory or ""
            course.sights[place] = look_into(cluster, *place)


def _look_at_the_end(course: Course, cluster: Cluster, podman: Podman) -> None:
    [master] = cluster.pods("master-aggregator")
    for number in range(1, ROUNDS + 1):
        done = cluster.exec(master.pod.name, "master-aggregator", "fedtier", "show", str(number), "--json")
        assert done.returncode == 0, done.stderr
        course.published[number] = json.loads(done.stdout)["manifest"]
    size = course.sights[master.pod.name, "tensorboard"].memory
    done = cluster.exec(master.pod.name, "tensorboard", "python", "-c", f"bytearray({size})")
    course.too_much = done.returncode
    answer = subprocess.run(
        podman.inside(sys.executable, "-c", _TENSORBOARD), capture_output=True, text=True, check=False
    )
    course.tensorboard = answer.stdout + answer.stderr
    course.is_complete = cluster.job("clients").is_complete
    course.are_ready = {owner: bool(cluster.ready(owner)) for owner in SERVERS}
    course.restarts = {one.pod.name: one.restarts for owner in SERVERS for one in cluster.pods(owner)}
    course.overfull = cluster.volumes_over_limit()


def _contributors(cluster: Cluster, worker: PodState, token: str) -> int:
    """Return how many updates a worker has brought to the master, as itself says."""
    done = cluster.exec(worker.pod.name, "worker-aggregator", "python", "-c", f"TOKEN = {token!r}\n{_CONTRIBUTORS}")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def _status(podman: Podman, federation: Federation, log: Path) -> Facts:
    """Watch the open round from the node."""
    # What enters the namespaces is the parent of what it runs there, and is what is ended.
    command = ["setpriv", "--pdeathsig", "TERM", FEDTIER, "status", "--watch", "--every", "0.2", "--json"]
    where = ["--server", "https://master-aggregator.fedtier:5000", "--ca-certs", str(federation.authority)]
    return Facts(
        podman.inside(*command, *where),
        log,
        {"FEDTIER_TOKEN_FILE": str(federation.operator_token)},
    )


@contextlib.contextmanager
def _timed(course: Course, what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    course.seconds[what] = round(time.monotonic() - started, 1)
