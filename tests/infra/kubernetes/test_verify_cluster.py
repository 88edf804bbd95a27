"""How `verify-cluster.sh` goes on after each answer of kubectl, which `stand_in_kubectl.py` gives.

No cluster is to be had here: that a real one answers the script's questions so is not tested.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.infra.linters import linter
from tests.infra.programs import CHECKOUT, FEDTIER, environment

_SCRIPT: Final = CHECKOUT / "infra" / "kubernetes" / "verify-cluster.sh"
_STAND_IN: Final = Path(__file__).with_name("stand_in_kubectl.py")
_VERDICT: Final = re.compile(r"^(PASS|FAIL|SKIP)  ([^:]+): (.+)$", re.MULTILINE)
_POINTS: Final = 15
_ROUNDS: Final = (
    "a worker's pod is killed in mid-round",
    "the master's pod is killed in mid-round",
    "the federation finishes, every round as it must be",
)
_QUICK: Final = ("--overlay", "minikube", "--yes", "--patience", "20", "--every", "1")


@dataclass(frozen=True, slots=True)
class Verification:
    """What a call of the script said, and what it asked kubectl."""

    status: int
    printed: str
    complained: str
    calls: str

    @property
    def verdicts(self) -> dict[str, str]:
        """By point."""
        return {point: verdict for verdict, point, _ in _VERDICT.findall(self.printed)}

    @property
    def cleaned(self) -> bool:
        """Whether it took away what it brought up, and brought nothing up after that."""
        lines = self.calls.splitlines()
        brought = [number for number, line in enumerate(lines) if line.startswith(("apply", "create namespace"))]
        after = lines[max(brought) :]
        return all(
            any(line.startswith(f"delete {what} ") for line in after)
            for what in ("--kustomize", "namespace fedtier-verify")
        )


class Cluster:
    """Stand-ins of kubectl, and of sleep, on PATH.

    Parameters
    ----------
    folder : Path
        Its own.
    """

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        programs = folder / "bin"
        programs.mkdir()
        # Looks are counted and not timed, so that what the script gives up on does not depend on the machine.
        for name, does in (("kubectl", f'exec "{sys.executable}" -I -S "{_STAND_IN}" "$@"'), ("sleep", "exit 0")):
            (programs / name).write_text(f"#!/bin/sh\n{does}\n")
            (programs / name).chmod(0o755)
        self.environment = environment() | {
            "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", "")]),
            "FEDTIER": FEDTIER,
            "STAND_IN_STATE": str(self.state),
            "STAND_IN_REAL": linter("kubectl"),
            "STAND_IN_ACCOUNT": "123456789012",
            "TMPDIR": str(folder),
        }

    def verify(self, *words: str, broken: str = "", **variables: str) -> Verification:
        """Call the script, with some things in the cluster broken, and more variables of the stand-in."""
        done = subprocess.run(
            [_SCRIPT, *words],
            env=self.environment | {"STAND_IN_BROKEN": broken} | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Verification(done.returncode, done.stdout, done.stderr, self.calls)

    @property
    def calls(self) -> str:
        """What kubectl was told so far, a line a call."""
        calls = self.state / "calls"
        return calls.read_text() if calls.exists() else ""


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """One in which all is well."""
    return Cluster(tmp_path)


def test_where_all_is_well_every_point_passes_and_nothing_is_left(cluster: Cluster, tmp_path: Path) -> None:
    done = cluster.verify(*_QUICK, "--load")
    assert done.status == 0, done.printed + done.complained
    assert len(done.verdicts) == _POINTS
    assert [point for point, verdict in done.verdicts.items() if verdict != "PASS"] == [
        "the load balancer finds workers healthy"
    ]
    assert f"{_POINTS - 1} passed, 0 failed, 1 skipped" in done.printed
    assert done.cleaned
    assert {path.name for path in tmp_path.iterdir()} == {"state", "bin"}


def test_clients_start_when_the_servers_are_looked_at(cluster: Cluster) -> None:
    calls = cluster.verify(*_QUICK).calls
    servers, clients = (calls.index(f"--selector app.kubernetes.io/component{sign}client") for sign in ("!=", "="))
    assert servers < calls.index("exec probe-stranger") < clients


def test_a_load_balancer_is_looked_at_where_there_is_one(cluster: Cluster) -> None:
    words = [word.replace("minikube", "eks") for word in _QUICK]
    done = cluster.verify(*words, "--load", STAND_IN_ACCOUNT="210987654321")
    assert set(done.verdicts.values()) == {"PASS"}, done.printed + done.complained
    assert "nlb.elb.ap-northeast-2.amazonaws.com" in done.printed
    assert "s3 port" not in done.printed


@pytest.mark.parametrize("broken", ["targets", "address"])
def test_a_load_balancer_that_sends_to_nobody_is_found(broken: str, cluster: Cluster) -> None:
    words = [word.replace("minikube", "eks") for word in _QUICK]
    done = cluster.verify(*words, broken=broken, STAND_IN_ACCOUNT="210987654321")
    assert done.verdicts["the load balancer finds workers healthy"] == "FAIL"


@pytest.mark.parametrize(
    ("broken", "failing"),
    [
        (
            {"spread", "client", "admission", "root", "metrics"},
            {
                "every worker gets requests",
                "a client's pod reaches workers",
                "a privileged pod is refused",
                "roots are read-only",
                "the autoscaler sees metrics",
            },
        ),
        (
            {
                "probe-client master-aggregator",
                "probe-stranger s3",
                "probe-outsider master-aggregator.fedtier",
                "round",
            },
            {
                "a client's pod does not reach the master",
                "a stranger in the namespace reaches nothing",
                "a pod elsewhere does not reach the master",
                *_ROUNDS,
            },
        ),
        (
            {"names", "contributors"},
            {
                "a client's pod reaches workers",
                "a client's pod does not reach the master",
                "a stranger in the namespace reaches nothing",
                "a pod elsewhere does not reach the master",
                *_ROUNDS[:2],
            },
        ),
        ({"probe-stranger worker-aggregator", "stuck"}, {"a stranger in the namespace reaches nothing", *_ROUNDS[1:]}),
    ],
)
def test_what_is_broken_fails_its_points_and_the_others_go_on(
    broken: set[str], failing: set[str], cluster: Cluster
) -> None:
    done = cluster.verify(*_QUICK, broken=",".join(broken))
    assert {point for point, verdict in done.verdicts.items() if verdict == "FAIL"} == failing, done.printed
    assert (done.status, len(done.verdicts)) == (3, _POINTS)
    assert done.cleaned


def test_a_worker_too_few_under_load_is_a_failure(cluster: Cluster) -> None:
    done = cluster.verify(*_QUICK, "--load", broken="scaling")
    assert done.verdicts["the autoscaler adds a worker under load"] == "FAIL"
    assert (done.status, done.cleaned) == (3, True)


def test_without_servers_nothing_else_is_tried(cluster: Cluster) -> None:
    done = cluster.verify(*_QUICK, broken="rollout")
    assert done.verdicts == {"pods get ready": "FAIL"}
    assert (done.status, done.cleaned) == (3, True)


def test_what_is_to_be_kept_is_left_there(cluster: Cluster) -> None:
    assert " delete " not in cluster.verify(*_QUICK, "--keep", broken="rollout").calls.replace("\n", " ")


def test_a_context_is_that_of_every_call_to_the_cluster(cluster: Cluster) -> None:
    calls = cluster.verify(*_QUICK, "--context", "lab").calls.splitlines()
    local = ("kustomize ", "create secret ")
    assert [call for call in calls if "--context lab" not in call and not call.startswith(local)] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "--overlay is ''"),
        (("--overlay", "aks"), "wanted minikube or eks"),
        (("--overlay",), "--overlay needs a value"),
        (("--overlay", "minikube", "--patience", "long"), "--patience is long"),
        (("--overlay", "minikube", "--force"), "--force is no argument"),
        (("--overlay", "minikube"), "nobody is there to say yes"),
        (("--overlay", "eks", "--yes"), "still names the account 123456789012"),
    ],
)
def test_it_does_not_begin_without_being_told_what_to_do(
    words: tuple[str, ...], sentence: str, cluster: Cluster
) -> None:
    done = cluster.verify(*words)
    assert done.status == 1
    assert sentence in done.complained
    assert not re.search(r"^(apply|create namespace|delete)", done.calls, re.MULTILINE)


@pytest.mark.parametrize("namespace", ["fedtier", "fedtier-verify"])
def test_a_federation_that_is_there_is_not_touched(namespace: str, cluster: Cluster) -> None:
    done = cluster.verify(*_QUICK, broken=f"namespace {namespace}")
    assert (done.status, "already" in done.complained) == (1, True)
    assert not re.search(r"^(apply|create namespace|delete)", done.calls, re.MULTILINE)


def test_it_says_how_it_is_called_and_that_it_never_ran_on_a_cluster(cluster: Cluster) -> None:
    assert "Usage: infra/kubernetes/verify-cluster.sh" in cluster.verify("--help").printed
    assert "NEVER RUN ON A REAL CLUSTER" in _SCRIPT.read_text()


def test_whoever_breaks_it_off_leaves_nothing_there(cluster: Cluster) -> None:
    words = [str(_SCRIPT), "--overlay", "minikube", "--yes", "--patience", "999999", "--every", "1"]
    variables = cluster.environment | {"STAND_IN_BROKEN": "metrics"}
    with subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, text=True) as process:
        guard = threading.Timer(240, process.kill)
        guard.start()
        assert process.stdout is not None
        assert any("roots are read-only" in line for line in process.stdout)
        while cluster.calls.count("ScalingActive") < 3:  # the next point is waited for
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.wait()
        guard.cancel()
    assert process.returncode == 143
    assert Verification(143, "", "", cluster.calls).cleaned
