"""What pods tell of themselves is read for what it means to somebody who waits for them."""

from __future__ import annotations

from typing import Any, Final

import pytest

from infra.kubeflow.steps.pod_states import Hope, Patience, Trouble, described, is_ready, refused, troubles_of

_PATIENCE: Final = Patience(pulling=20, placing=300, making=60)


def pod(*containers: dict[str, Any], leaves: bool = False, **status: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "s3-0", "labels": {}}
    if leaves:
        metadata["deletionTimestamp"] = "2020-01-01T00:00:00Z"
    return {"metadata": metadata, "status": {"containerStatuses": list(containers), **status}}


def container(name: str = "s3", *, ready: bool = False, restarts: int = 0, **states: Any) -> dict[str, Any]:
    last = states.pop("last", {})
    return {"name": name, "ready": ready, "restartCount": restarts, "state": states, "lastState": last}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return container(waiting={"reason": reason, "message": message})


@pytest.mark.parametrize(
    ("status", "ready"), [("True", True), ("False", False), ("Unknown", False)], ids=["yes", "no", "its node is lost"]
)
def test_a_pod_is_ready_when_it_says_so(status: str, ready: bool) -> None:
    assert is_ready(pod(conditions=[{"type": "Ready", "status": status}])) is ready


def test_a_pod_that_is_to_end_or_has_just_begun_is_not_ready() -> None:
    assert not is_ready(pod(leaves=True, conditions=[{"type": "Ready", "status": "True"}]))
    assert not is_ready({"metadata": {"name": "s3-0"}, "status": {}})


@pytest.mark.parametrize(
    ("troubled", "sentence", "patience"),
    [
        (
            pod(waiting("ImagePullBackOff", 'Back-off pulling image "no/such:1"')),
            'pod s3-0, container s3: ImagePullBackOff (Back-off pulling image "no/such:1")',
            20,
        ),
        (pod(waiting("ErrImagePull")), "pod s3-0, container s3: ErrImagePull", 20),
        (pod(waiting("InvalidImageName")), "pod s3-0, container s3: InvalidImageName", 0),
        (
            pod(waiting("CreateContainerConfigError", 'secret "x" not found')),
            'pod s3-0, container s3: CreateContainerConfigError (secret "x" not found)',
            0,
        ),
        (
            pod(
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient cpu.",
                    }
                ]
            ),
            "pod s3-0: Unschedulable (0/1 nodes are available: 1 Insufficient cpu.)",
            300,
        ),
        (
            pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
            "pod s3-0: Evicted (The node was low on resource: memory.)",
            60,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_trouble_is_told_with_its_reason(troubled: dict[str, Any], sentence: str, patience: float) -> None:
    (found,) = troubles_of(troubled, _PATIENCE)
    assert (str(found), found.patience, found.crashed) == (sentence, patience, None)


@pytest.mark.parametrize(
    "state",
    [
        {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting failed container"}},
        {"running": {}},
    ],
    ids=["between two runs", "in a run that is not ready"],
)
def test_a_container_that_ends_again_and_again_is_told_with_its_status(state: dict[str, Any]) -> None:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    (found,) = troubles_of(pod(container(restarts=2, last=ended, **state)), _PATIENCE)
    assert str(found) == "pod s3-0, container s3: it ends again and again (OOMKilled, status 137)"
    assert (found.patience, found.crashed) == (0, ("s3-0", "s3"))


@pytest.mark.parametrize(
    "well",
    [
        pod(),
        pod(container(ready=True, restarts=5, running={})),
        pod(container(restarts=1, waiting={"reason": "CrashLoopBackOff"})),
        pod(waiting("ContainerCreating")),
        pod(waiting("ErrImagePull"), leaves=True),
        pod(conditions=[{"type": "PodScheduled", "status": "True"}]),
    ],
    ids=["new", "ready after all", "ended once", "being made", "to end", "has a node"],
)
def test_all_else_is_no_trouble(well: dict[str, Any]) -> None:
    assert list(troubles_of(well, _PATIENCE)) == []


def test_pods_that_are_not_made_are_a_trouble_of_their_deployment() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    deployment = {"kind": "Deployment", "metadata": {"name": "w"}, "status": {"conditions": [condition]}}
    (found,) = refused(deployment, _PATIENCE)
    assert (str(found), found.patience) == ("deployment w: FailedCreate (exceeded quota)", 60)
    assert not list(refused({"kind": "Deployment", "metadata": {"name": "w"}}, _PATIENCE))


def trouble(reason: str = "ErrImagePull", where: str = "pod a, container s3") -> Trouble:
    return Trouble(where, reason, "", 20)


def test_hope_is_lost_when_a_trouble_has_lasted_by_whatever_reason() -> None:
    hope = Hope()
    assert hope.lost([trouble()], 100.0) is None
    assert hope.lost([trouble("ImagePullBackOff")], 119.9) is None
    assert hope.lost([trouble()], 120.0) == trouble()


def test_a_trouble_that_passes_is_forgotten() -> None:
    hope = Hope()
    hope.lost([trouble()], 100.0)
    hope.lost([], 110.0)
    assert hope.lost([trouble()], 125.0) is None
    assert hope.lost([trouble()], 145.0) == trouble()


def test_troubles_of_two_pods_do_not_add_up() -> None:
    hope = Hope()
    hope.lost([trouble()], 100.0)
    assert hope.lost([trouble(where="pod b, container s3")], 121.0) is None


def test_what_cannot_pass_loses_hope_at_once() -> None:
    at_once = Trouble("pod a", "InvalidImageName", "", 0.0)
    assert Hope().lost([at_once], 0.0) == at_once


def test_a_pod_is_described_in_a_few_words() -> None:
    troubled = pod(
        container(ready=True, running={}), container("tls", waiting={"reason": "ErrImagePull"}), phase="Pending"
    )
    assert described(troubled) == "pod s3-0 is Pending: s3 ready, tls waiting ErrImagePull"
    assert described({"metadata": {"name": "s3-0"}}) == "pod s3-0 is new"
