"""The course of a federation of `compose.yaml`: up, a round, up again for one more, stop, down; and what was seen."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.infra.compose.project import Project
from tests.infra.containers.podman import Podman
from tests.infra.programs import CHECKOUT, FEDTIER, Facts

CLIENTS: Final = ("client-0", "client-1", "client-2")
WORKERS: Final = ("worker-1", "worker-2")
LASTING: Final = ("minio", "master", *WORKERS, "nginx", "tensorboard")
ROUNDS: Final = 2
SETTINGS: Final = {
    "FEDTIER_SEED": "7",
    "FEDTIER_PARTITION": "uniform",
    "FEDTIER_N_DATA": "300",
    "FEDTIER_MNIST_DIR": str(CHECKOUT / ".fedtier" / "data"),
}
"""Real MNIST, as the run on this machine left it; a part of it, since what is shown does not depend on how much."""

_STATUS: Final = ("Uid", "CapEff", "NoNewPrivs")
_CLIENT_SECONDS: Final = 900.0


@dataclass
class Course:
    """What was seen."""

    alone: dict[int, str] = field(default_factory=dict)
    """The SHA-256 of each round's model, of a run on this machine."""

    published: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Each round as ``operator rounds`` shows it."""

    contributors: dict[int, list[str]] = field(default_factory=dict)
    """Who is in each round, by its manifest."""

    counted: dict[str, set[str]] = field(default_factory=dict)
    """Whose updates each worker had counted."""

    client_ends: list[int] = field(default_factory=list)
    processes: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of the first process of each service, what the kernel says of its user and rights."""

    writable_roots: list[str] = field(default_factory=list)
    unlimited: list[str] = field(default_factory=list)
    """Services without a limit of memory."""

    health: dict[str, int] = field(default_factory=dict)
    """The status of each service's health check."""

    answers: dict[str, int] = field(default_factory=dict)
    """The HTTP status at each published port."""

    secrets: dict[str, str] = field(default_factory=dict)
    """What must be nowhere but where it belongs, by its file in the volume of credentials."""

    held: dict[str, set[str]] = field(default_factory=dict)
    """Which of them lie in a volume that each service mounts."""

    logs: dict[str, str] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    """The status with which each lasting service ended when it was stopped."""

    left: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def run_course(podman: Podman, program: str, folder: Path) -> Course:
    """Live through it."""
    course = Course()
    with _timed(course, "training on this machine"):
        course.alone = _train_here(folder)
    project = Project(podman, program, SETTINGS, folder / "podman-compose.log")
    with _timed(course, "up and a round"):
        project.call("up", "--detach", FEDTIER_ROUNDS="1")
        _wait_for_clients(course, podman, project)
    _look_around(course, podman, project)
    with _timed(course, "up again and one more round"):
        project.call("up", "--detach", FEDTIER_ROUNDS=str(ROUNDS))
        _wait_for_clients(course, podman, project)
    _look_at_rounds(course, podman, project)
    _look_for_secrets(course, podman, project)
    with _timed(course, "stop"):
        project.call("stop")
    course.ends = {name: podman.inspect(project.container(name))["State"]["ExitCode"] for name in LASTING}
    with _timed(course, "down"):
        project.call("down", "--volumes")
    course.left = project.left()
    return course


def _train_here(folder: Path) -> dict[int, str]:
    words = [FEDTIER, "train", "--clients", str(len(CLIENTS)), "--workers", "2"]
    words += ["--round", str(ROUNDS), "--run-dir", str(folder / "here"), "--seed", SETTINGS["FEDTIER_SEED"]]
    words += ["--partition", SETTINGS["FEDTIER_PARTITION"], "--n-data", SETTINGS["FEDTIER_N_DATA"], "--json"]
    with Facts(words, folder / "here.log") as training:
        return {fact["round"]: fact["sha256"] for fact in training.finish() if fact["event"] == "published"}


def _wait_for_clients(course: Course, podman: Podman, project: Project) -> None:
    course.client_ends += [podman.wait(project.container(name), timeout=_CLIENT_SECONDS) for name in CLIENTS]


def _look_around(course: Course, podman: Podman, project: Project) -> None:
    """Look at what runs: rights, health, ports."""
    for name in sorted(project.services()):
        facts = podman.inspect(project.container(name))
        if not facts["HostConfig"]["Memory"]:
            course.unlimited.append(name)
        if not facts["HostConfig"]["ReadonlyRootfs"]:
            course.writable_roots.append(name)
    for name in LASTING:
        container = project.container(name)
        lines = podman.exec(container, "cat", "/proc/1/status").stdout.splitlines()
        course.processes[name] = {
            key: value.split()[0] for key, _, value in (line.partition(":") for line in lines) if key in _STATUS
        }
        if podman.exec(container, "touch", "/made", check=False).returncode == 0:
            course.writable_roots.append(name)
        if podman.inspect(container)["Config"].get("Healthcheck"):
            course.health[name] = podman.run("healthcheck", "run", container, check=False).returncode
    authority = ssl.create_default_context(cafile=str(project.volume("operator-files") / "ca.pem"))
    with podman.network():
        for url in ("https://127.0.0.1:8443/readyz", "http://127.0.0.1:6006/"):
            context = authority if url.startswith("https") else None
            with urllib.request.urlopen(url, timeout=30, context=context) as answer:
                course.answers[url] = answer.status


def _look_at_rounds(course: Course, podman: Podman, project: Project) -> None:
    course.published = {fact["round"]: fact for fact in project.operator("rounds")}
    for number in course.published:
        [fact] = project.operator("show", str(number))
        course.contributors[number] = [one["client_id"] for one in fact["manifest"]["contributors"]]
    for name in WORKERS:
        lines = [line for line in podman.logs(project.container(name)).splitlines() if line.startswith("{")]
        events = [event for event in map(json.loads, lines) if event["event"] == "batch counted"]
        course.counted[name] = {client for event in events for client in event["clients"]}


def _look_for_secrets(course: Course, podman: Podman, project: Project) -> None:
    folder = project.volume("credentials")
    tokens = [*folder.glob("tokens/*")]
    # Of each key a line with a part of it: the first says only what it is.
    keys = [*folder.glob("servers/*-key.pem"), folder / "authority" / "ca-key.pem", folder / "keys" / "signing-key.pem"]
    course.secrets = {path.name: path.read_text().strip() for path in tokens}
    course.secrets |= {path.name: path.read_text().splitlines()[1] for path in keys}
    course.secrets["s3.json"] = json.loads((folder / "s3.json").read_text())["secret_key"]
    for name in project.services():
        course.logs[name] = podman.logs(project.container(name))
        course.held[name] = {secret for path in project.mounted(name) for secret in _found(path, course.secrets)}


def _found(folder: Path, secrets: dict[str, str]) -> set[str]:
    """Return which secrets stand in any file of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    contents = [path.read_bytes() for path in files if path.stat().st_size < 1 << 16]
    return {name for name, secret in secrets.items() if any(secret.encode() in content for content in contents)}


@contextlib.contextmanager
def _timed(course: Course, what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    course.seconds[what] = round(time.monotonic() - started, 1)
