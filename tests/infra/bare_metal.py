"""The course of a federation on real hosts, from bare machines to the last `stop.sh`, with what was seen on the way."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedtier_cli.deploying.site import Site
from tests.infra.hosts import Host, Hosts
from tests.infra.programs import CHECKOUT, FEDTIER, Facts, Play, play

WORKERS, CLIENTS = 2, 3
DISTURBED, UPGRADED = 3, 6
"""Last rounds of the training that is disturbed, and of the one during which all hosts are upgraded."""

_WORKER_PORT = 8443
"""As `worker_port` of the playbooks is by default."""

# Real MNIST; a part of it, since what is shown does not depend on how much there is.
_TRAINING = ("--epoch", "1", "--seed", "7", "--partition", "uniform", "--n-data", "300", "--json")


@dataclass
class Course:
    """What was seen."""

    plays: dict[str, Play] = field(default_factory=dict)
    undisturbed: dict[int, str] = field(default_factory=dict)
    """The SHA-256 of each round's model, of a run on this machine."""

    published: dict[int, str] = field(default_factory=dict)
    """The same of the run on the hosts."""

    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What a server said of the open round at some moments."""

    watched: list[dict[str, Any]] = field(default_factory=list)
    """What the workers said of it through the load balancer, from before the upgrade to the end of the training."""

    handovers: list[tuple[int, int]] = field(default_factory=list)
    """When each worker stopped and was up again in the upgrade, in microseconds of the clock that hosts share."""

    releases: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The release that each host ran before and after the upgrade."""

    secrets: list[str] = field(default_factory=list)
    """What must be nowhere but in its files."""

    told: dict[str, str] = field(default_factory=dict)
    """What any user of a host may see of its processes, and all that is in its journal."""

    secret_files: dict[str, str] = field(default_factory=dict)
    """Mode and owner of each file with a secret on each host, a line for each."""

    still_running: dict[str, str] = field(default_factory=dict)
    """Units of fedtier that were active on each host in the end."""

    seconds: dict[str, float] = field(default_factory=dict)


def run_course(hosts: Hosts, folder: Path) -> Course:
    """Live through it."""
    course = Course()
    inventory = hosts.write_inventory(folder / "hosts.yml", federation="proof")
    with ThreadPoolExecutor(max_workers=1) as pool:
        undisturbed: Future[dict[int, str]] = pool.submit(_train_here, folder)
        with _timed(course, "init on fresh hosts"):
            course.plays["first"] = play("init.sh", inventory=inventory)
        course.undisturbed = undisturbed.result()
    _train_disturbed(course, hosts, inventory, folder)
    with _timed(course, "init again"):
        course.plays["again"] = play("init.sh", inventory=inventory)
    _upgrade_in_mid_round(course, hosts, inventory, folder)
    _look_for_secrets(course, hosts, folder / "secrets")
    with _timed(course, "stop"):
        course.plays["stop"] = play("stop.sh", inventory=inventory)
    course.still_running = hosts.each(
        "systemctl", "list-units", "--no-legend", "--plain", "--state=active", "--type=service", "fedtier-*"
    )
    return course


def _train_here(folder: Path) -> dict[int, str]:
    """Train as the hosts are to, on this machine and with nothing in its way."""
    command = [str(CHECKOUT / "train.sh"), "--clients", str(CLIENTS), "--workers", str(WORKERS)]
    where = ("--round", str(UPGRADED), "--run-dir", str(folder / "here"))
    with Facts([*command, *where, *_TRAINING], folder / "here.log") as training:
        return _models(training.finish())


def _train_disturbed(course: Course, hosts: Hosts, inventory: Path, folder: Path) -> None:
    """Train; a worker's host loses its power in mid-round and comes back, and the master's host is rebooted."""
    with _timed(course, "training, disturbed"), _training(DISTURBED, inventory, folder) as training:
        training.wait_for(lambda fact: fact["event"] == "published" and fact["round"] == 1)
        with _round_held_open(hosts, folder) as ask:
            course.held["before"] = ask("master")
            hosts["worker-0"].kill()
            course.held["without a worker"] = ask("front")
            with _timed(course, "boot of a worker's host"):
                hosts["worker-0"].start()
            with _timed(course, "reboot of the master's host"):
                hosts["master-0"].reboot()
            course.held["after"] = ask("master")
        course.published |= _models(training.finish())


def _upgrade_in_mid_round(course: Course, hosts: Hosts, inventory: Path, folder: Path) -> None:
    """Go on training, and bring another release to all hosts while a round is open."""
    before = _releases(hosts)
    with _timed(course, "training, upgraded"), _training(UPGRADED, inventory, folder) as training:
        training.wait_for(lambda fact: fact["event"] == "published" and fact["round"] == DISTURBED + 1)
        with _round_held_open(hosts, folder) as ask:
            course.held["before the upgrade"] = ask("master")
            for worker in hosts.in_group("worker_aggregators"):
                ask(worker.name)  # each hears of it at its own pace
            with _status("front", hosts, folder) as watching:
                # The last play starts the clients anew, which ends the hold.
                with _timed(course, "upgrade"):
                    course.plays["upgrade"] = play(
                        "upgrade.sh", "--extra-vars", f"checkout={_next_release(folder)}", inventory=inventory
                    )
                course.published |= _models(training.finish())
                course.watched = watching.finish()
    after = _releases(hosts)
    course.releases = {name: (before[name], after[name]) for name in before}
    course.handovers = [_handover(host) for host in hosts.in_group("worker_aggregators")]


def _look_for_secrets(course: Course, hosts: Hosts, secrets: Path) -> None:
    tokens = [path.read_text().strip() for path in secrets.glob("tokens/*")]
    # Of each key a line with a part of it: the first says only what it is.
    keys = [
        *secrets.glob("servers/*-key.pem"),
        secrets / "authority" / "ca-key.pem",
        secrets / "keys" / "signing-key.pem",
    ]
    lines = [path.read_text().splitlines()[1] for path in keys]
    course.secrets = [*tokens, *lines, json.loads((secrets / "s3.json").read_text())["secret_key"]]
    processes = hosts.each("ps", "-eww", "-o", "args=")
    journals = hosts.each("sudo", "journalctl", "--no-pager", "--output=cat")
    course.told = {name: processes[name] + journals[name] for name in processes}
    course.secret_files = hosts.each("sudo", "find", "/etc/fedtier/secrets", "-type", "f", "-printf", r"%m %u\n")


def _releases(hosts: Hosts) -> dict[str, str]:
    """Return the release that each host has; a load balancer alone needs none."""
    having = [host for host in hosts if host not in hosts.in_group("load_balancers")]
    return {host.name: host.ssh("readlink", "/opt/fedtier/current").stdout.strip() for host in having}


def _handover(worker: Host) -> tuple[int, int]:
    names = "InactiveEnterTimestampMonotonic", "ActiveEnterTimestampMonotonic"
    shown = worker.ssh("systemctl", "show", f"--property={','.join(names)}", "fedtier-worker.service").stdout
    times = dict(line.split("=") for line in shown.split())
    return int(times[names[0]]), int(times[names[1]])


@contextlib.contextmanager
def _training(last_round: int, inventory: Path, folder: Path) -> Iterator[Facts]:
    command = [str(CHECKOUT / "train.sh"), "--inventory", str(inventory), "--round", str(last_round)]
    words = [*command, "--run-dir", str(folder / "there"), *_TRAINING]
    with Facts(words, folder / f"there-{last_round}.log") as training:
        yield training


@contextlib.contextmanager
def _round_held_open(hosts: Hosts, folder: Path) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Keep a round open while the context lasts: a client stands still, and the others are counted.

    Yields what asks for the open round, and returns what is said once all the others are counted: the master, a worker
    by its host's name, or the workers through the load balancer (`front`).
    """
    last, unit = hosts[f"client-{CLIENTS - 1}"], f"fedtier-client@client-{CLIENTS - 1}.service"

    def ask(whom: str) -> dict[str, Any]:
        with _status(whom, hosts, folder) as status:
            return status.wait_for(lambda fact: fact.get("counted") == CLIENTS - 1 and fact["state"] == "collecting")

    last.ssh("sudo", "systemctl", "kill", "--signal=STOP", unit)
    try:
        yield ask
    finally:
        last.ssh("sudo", "systemctl", "kill", "--signal=CONT", unit)


def _status(whom: str, hosts: Hosts, folder: Path) -> Facts:
    """Watch the open round as a server has it: the master, a worker, or one after the other (`front`)."""
    site = Site.from_json((folder / "there" / "site.json").read_bytes())
    workers = {host.name: f"https://{host.address}:{_WORKER_PORT}" for host in hosts.in_group("worker_aggregators")}
    address = {"master": site.master_url, "front": site.server_url, **workers}[whom]
    return Facts(
        [
            *(FEDTIER, "status", "--server", address, "--watch", "--every", "0.2", "--json"),
            *("--ca-certs", str(folder / "secrets" / "authority" / "ca.pem")),
        ],
        folder / f"status-of-{whom}.log",
        {"FEDTIER_TOKEN_FILE": str(folder / "secrets" / "tokens" / "operator.token")},
    )


def _next_release(folder: Path) -> Path:
    """Return a copy of the checkout's files in which something that is shipped differs."""
    copy = folder / "next"
    listed = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, copy / name)
    with (copy / "fedtier" / "__init__.py").open("a") as module:
        module.write("# the next release\n")
    return copy


def _models(facts: list[dict[str, Any]]) -> dict[int, str]:
    return {fact["round"]: fact["sha256"] for fact in facts if fact["event"] == "published"}


@contextlib.contextmanager
def _timed(course: Course, what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    course.seconds[what] = round(time.monotonic() - started, 1)
