"""Stands for kubectl and a cluster behind it, to see how `verify-cluster.sh` goes on after each answer.

It has no idea of Kubernetes: it tells calls apart by their words, and gives the answers that a cluster would give in
which all is well, but for what the variable STAND_IN_BROKEN names. What makes manifests without a cluster is passed on
to the real kubectl, and STAND_IN_ACCOUNT put where the EKS overlay leaves room for an account. Calls and what they
change are kept in the folder STAND_IN_STATE.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STATE = Path(os.environ["STAND_IN_STATE"])
_BROKEN = set(os.environ.get("STAND_IN_BROKEN", "").split(","))
_WORKERS = ["worker-aggregator-a", "worker-aggregator-b"]
_CLIENTS = 3
_FINAL_ROUND = 3


def unless(broken: str, well: tuple[str, int], otherwise: tuple[str, int]) -> Callable[[], tuple[str, int]]:
    """Return what gives one of two answers."""
    return lambda: otherwise if broken in _BROKEN else well


_ANSWERS: dict[str, Callable[[], tuple[str, int]]] = {
    "rollout status": unless("rollout", ("", 0), ("timed out", 1)),
    "--dry-run=server": unless("admission", ('violates PodSecurity "restricted:latest"', 1), ("", 0)),
    "get job": lambda: (str(_CLIENTS), 0),
    "get deployment": lambda: ("fedtier-server:0.1.0", 0),
    "get service": unless("address", ("nlb.elb.ap-northeast-2.amazonaws.com", 0), ("", 0)),
    "current-context": lambda: ("stand-in", 0),
}
_PROGRAMS: dict[str, Callable[[], tuple[str, int]]] = {
    "fedtier verify": unless("round", ("", 0), ("round 1 is not as it must be", 3)),
    "fedtier show": unless("contributors", ("", 0), ("counted were ['client-0']", 1)),
    "/opt/written": unless("root", ("OSError: [Errno 30] Read-only file system: '/opt/written'", 1), ("", 0)),
}


def main() -> None:
    words = sys.argv[1:]
    with (_STATE / "calls").open("a") as calls:
        calls.write(" ".join(word.replace("\n", " ") for word in words) + "\n")
    if words[0] == "kustomize":
        made = subprocess.run([os.environ["STAND_IN_REAL"], *words], stdout=subprocess.PIPE, text=True, check=True)
        print(made.stdout.replace("123456789012", os.environ["STAND_IN_ACCOUNT"]))
        sys.exit()
    if {"create", "secret"} <= set(words):
        os.execv(os.environ["STAND_IN_REAL"], ["kubectl", *words])
    said, status = answer(" ".join(words), words)
    print(said, end="", file=sys.stderr if status else sys.stdout)
    sys.exit(status)


def answer(call: str, words: list[str]) -> tuple[str, int]:
    """Return what is printed, and the exit status."""
    if "exec" in words:
        return inside(call, words)
    return next((given() for part, given in _ANSWERS.items() if part in call), found(call, words))


def found(call: str, words: list[str]) -> tuple[str, int]:
    """Answer for objects that there are, and that there are not."""
    if "get namespace" in call:
        return ("", 0) if f"namespace {words[-1]}" in _BROKEN else ("not found", 1)
    if "get pods" in call:
        return pods(call), 0
    if "get horizontalpodautoscaler" in call:
        return autoscaler(call), 0
    return "", 0


def pods(call: str) -> str:
    if "job-completion-index=0" in call:
        return "clients-0-x"
    if "readinessGates" in call:
        gate = "" if "targets" in _BROKEN else "target-health.elbv2.k8s.aws/workers"
        return "".join(f"{name} {gate}\n" for name in _WORKERS)
    if "worker-aggregator" in call:
        return "".join(f"{name}\n" for name in _WORKERS)
    return "master-aggregator-0\n"


def autoscaler(call: str) -> str:
    if "ScalingActive" in call:
        return "False" if "metrics" in _BROKEN else "True"
    if "desiredReplicas" in call:
        state = load()
        state["looks"] = state.get("looks", 0) + 1
        keep(state)
        return "3" if state["looks"] > 2 and "scaling" not in _BROKEN else "2"
    return "12"


def inside(call: str, words: list[str]) -> tuple[str, int]:
    """Answer for a program in a pod."""
    if "fedtier status" in call:
        return standing(), 0
    if "urllib.request" in call:
        return str(load().get("asked", {}).get(words[words.index("--stdin") + 1], 0)), 0
    if "wrap_socket" in call:
        return asked(int(words[-3]))
    return next((given() for part, given in _PROGRAMS.items() if part in call), connected(words))


def connected(words: list[str]) -> tuple[str, int]:
    pod, host, port = words[words.index("exec") + 1], words[-2], words[-1]
    if "names" in _BROKEN:
        return "socket.gaierror: [Errno -2] Name or service not known", 1
    wanted = (pod, host, port) == ("probe-client", "worker-aggregator", "5001") and "client" not in _BROKEN
    return "reached\n" if wanted or f"{pod} {host}" in _BROKEN else "denied\n", 0


def asked(times: int) -> tuple[str, int]:
    state = load()
    counts = state.setdefault("asked", {})
    for name in _WORKERS if "spread" not in _BROKEN else _WORKERS[:1]:
        counts[name] = counts.get(name, 0) + times // 2
    keep(state)
    return "", 0


def standing() -> str:
    """Return how the round stands; one more client is counted whenever somebody looks."""
    state = load()
    newest, counted = state.get("newest", 0), state.get("counted", 0)
    if newest == _FINAL_ROUND:
        return f"{newest} {newest} 0 {_CLIENTS} finished\n"
    calls = (_STATE / "calls").read_text()
    stuck = "stuck" in _BROKEN and "delete pod master-aggregator-0" in calls
    if not stuck:
        counted += 1
    if counted == _CLIENTS:
        newest, counted = newest + 1, 0
    keep(state | {"newest": newest, "counted": counted})
    return f"{newest + 1} {newest} {counted} {_CLIENTS} collecting\n"


def load() -> dict[str, Any]:
    path = _STATE / "state.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(state: dict[str, Any]) -> None:
    (_STATE / "state.json").write_text(json.dumps(state))


if __name__ == "__main__":
    main()
