"""What becomes of pods: told events, control says what is to be done, as controllers and kubelet would."""

from __future__ import annotations

import itertools
from typing import Any

from tests.infra.kubernetes.cluster.actions import (
    Action,
    EndPod,
    KillContainer,
    MakePod,
    RemoveClaim,
    RunContainer,
)
from tests.infra.kubernetes.cluster.control import Control
from tests.infra.kubernetes.cluster.samples import claim, deployment, job, objects, plain_job, service, stateful

_PROBE = {"httpGet": {"path": "/readyz", "port": 8000}}


def _applied(*documents: Any) -> tuple[Control, list[str]]:
    """Apply objects, and return the names of the pods that are to be made."""
    control = Control(str(number) for number in itertools.count())
    return control, _made(control.apply(objects(*documents)))


def _made(actions: list[Action]) -> list[str]:
    made = [action.pod.name for action in actions if isinstance(action, MakePod)]
    assert len(made) == len(actions)
    return made


def _run(actions: list[Action]) -> list[tuple[str, bool]]:
    return [(one.container.name, one.again) for one in actions if isinstance(one, RunContainer)]


def _containers(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "image": "image"} for name in names]


def test_workloads_make_pods_with_their_own_names() -> None:
    _, made = _applied(deployment("web", replicas=2), stateful("store"), job())

    assert made == ["store-0", "web-0", "web-1", "job-0-2", "job-1-3"]


def test_init_containers_run_one_after_the_other_before_all_others() -> None:
    control, [name] = _applied(
        deployment(initContainers=_containers("first", "second"), containers=_containers("one", "two"))
    )

    assert _run(control.made(name)) == [("first", False)]
    assert _run(control.ended(name, "first", 0)) == [("second", False)]
    assert _run(control.ended(name, "second", 0)) == [("one", False), ("two", False)]


def test_an_init_container_that_fails_runs_again() -> None:
    control, [name] = _applied(deployment(initContainers=_containers("first")))
    control.made(name)

    assert _run(control.ended(name, "first", 1)) == [("first", True)]


def test_a_container_that_ends_runs_again_and_is_not_ready_meanwhile() -> None:
    control, [name] = _applied(
        deployment(containers=[{"name": "main", "image": "image", "readinessProbe": _PROBE}]), service()
    )
    control.made(name)
    control.probed((name, "main", 1, "readiness"), succeeds=True)
    before = control.endpoints()["web"]

    again = control.ended(name, "main", 137)
    waits = dict(control.pods[name].waiting)
    control.starts(name, "main")
    control.probed((name, "main", 1, "readiness"), succeeds=True)  # what was found of the run that ended

    assert [pod.name for pod in before] == [name]
    assert _run(again) == [("main", True)]
    assert waits == {"main": "CrashLoopBackOff"}
    assert control.endpoints()["web"] == []
    control.probed((name, "main", 2, "readiness"), succeeds=True)
    assert [pod.name for pod in control.endpoints()["web"]] == [name]


def test_a_container_is_asked_whether_it_lives_when_it_has_started() -> None:
    probes = {f"{kind}Probe": _PROBE for kind in ("startup", "liveness", "readiness")}
    control, [name] = _applied(deployment(containers=[{"name": "main", "image": "image", **probes}]))
    control.made(name)
    before = [probed.kind for probed in control.probes()]

    control.probed((name, "main", 1, "startup"), succeeds=True)

    assert before == ["startup"]
    assert [probed.kind for probed in control.probes()] == ["liveness", "readiness"]


def test_a_container_that_does_not_start_or_does_not_live_is_killed() -> None:
    control, [name] = _applied(deployment())
    control.made(name)

    for kind in ("startup", "liveness"):
        [killed] = control.probed((name, "main", 1, kind), succeeds=False)
        assert isinstance(killed, KillContainer)
        assert control.probed((name, "main", 0, kind), succeeds=False) == [], "of an earlier run"


def test_a_service_may_send_to_who_is_not_ready() -> None:
    probed = [{"name": "main", "image": "image", "readinessProbe": _PROBE}]
    control, [name] = _applied(deployment(containers=probed), service(publishNotReadyAddresses=True), service("other"))

    control.made(name)

    assert {service: len(pods) for service, pods in control.endpoints().items()} == {"web": 1, "other": 0}


def test_a_pod_of_a_job_that_fails_is_made_anew_as_often_as_it_may() -> None:
    control, [name] = _applied(job(completions=1, tries=1))
    control.made(name)

    [again] = _made(control.ended(name, "main", 137))
    control.made(again)

    assert again != name
    assert control.pods[again].pod.index == control.pods[name].pod.index == 0
    assert control.ended(again, "main", 1) == []
    assert control.job("job").has_failed


def test_a_job_is_complete_when_every_index_succeeded() -> None:
    control, made = _applied(job(completions=2, parallelism=1))
    control.made(made[0])

    [second] = _made(control.ended(made[0], "main", 0))
    control.made(second)
    control.ended(second, "main", 0)

    assert control.job("job").is_complete
    assert not control.job("job").has_failed


def test_a_pod_of_a_job_that_is_told_to_end_is_made_anew_and_does_not_count_as_failed() -> None:
    ignored = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    control, [name] = _applied(job(completions=1, tries=0, rules=[ignored]))
    control.made(name)

    assert control.delete(name) == [EndPod(control.pods[name].pod)]
    assert control.removed(name) == [], "it is not known yet how it ended"
    [again] = _made(control.ended(name, "main", 143))

    assert again != name
    assert not control.job("job").has_failed


def test_a_pod_of_a_job_that_ends_well_when_it_is_told_to_end_has_done_its_work() -> None:
    control, [name] = _applied(job(completions=1))
    control.made(name)
    control.delete(name)

    control.ended(name, "main", 0)

    assert control.removed(name) == []
    assert control.job("job").is_complete


def test_a_status_that_a_rule_names_fails_its_index_at_once() -> None:
    rule = {"action": "FailIndex", "onExitCodes": {"containerName": "main", "operator": "In", "values": [2]}}
    control, [name] = _applied(job(completions=1, tries=5, rules=[rule]))
    control.made(name)

    assert control.ended(name, "main", 2) == []
    assert control.job("job").failed == {0}


def test_a_pod_that_is_deleted_is_replaced_when_it_is_gone() -> None:
    control, made = _applied(deployment("web", replicas=1), stateful("store"), service())
    for name in made:
        control.made(name)

    for name in made:
        control.delete(name)
        control.ended(name, "main", 0)

    assert control.endpoints()["web"] == []
    assert [_made(control.removed(name)) for name in made] == [["store-0"], ["web-1"]]


def test_pods_of_a_workload_that_is_removed_end_and_are_not_replaced() -> None:
    control, made = _applied(deployment("web", replicas=1), plain_job(), stateful("store"))
    for name in made:
        control.made(name)

    actions = control.remove({("Deployment", "web"), ("Job", "once")})

    ending = {action.pod.owner: action.pod.name for action in actions if isinstance(action, EndPod)}
    assert sorted(ending) == ["once", "web"]
    for name in ending.values():
        control.ended(name, "main", 143)
        assert control.removed(name) == []
    assert [state.pod.owner for state in control.pods.values()] == ["store"]


def test_a_pod_that_is_removed_while_it_is_made_ends_when_it_is() -> None:
    control, [name] = _applied(deployment("web"))

    assert control.remove({("Deployment", "web")}) == []
    [end] = control.made(name)

    assert end == EndPod(control.pods[name].pod)
    assert control.removed(name) == []
    assert control.pods == {}


def test_a_service_that_is_removed_has_no_pods() -> None:
    control, [name] = _applied(deployment(), service())
    control.made(name)

    control.remove({("Service", "web")})

    assert control.endpoints() == {}


def test_a_claim_that_is_removed_is_kept_until_no_pod_has_it() -> None:
    disk = {"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}
    control, [name] = _applied(deployment("web", volumes=[disk]), claim(), claim("other"))
    control.made(name)

    assert control.remove({("PersistentVolumeClaim", "disk"), ("PersistentVolumeClaim", "other")}) == [
        RemoveClaim("other")
    ]
    control.remove({("Deployment", "web")})
    control.ended(name, "main", 0)

    assert control.removed(name) == [RemoveClaim("disk")]


def test_a_pod_waits_for_an_image_that_is_not_there() -> None:
    control, [name] = _applied(deployment("web"))
    control.made(name)

    assert control.not_pulled(name, "main") == []
    state = control.pods[name]
    assert (state.waiting, state.running, state.is_ready) == ({"main": "ImagePullBackOff"}, set(), False)
    control.remove({("Deployment", "web")})
    assert control.removed(name) == []
    assert control.pods == {}


def test_a_job_that_is_not_indexed_is_over_with_its_pod() -> None:
    control, [name] = _applied(plain_job(policy="OnFailure"))
    control.made(name)

    assert _run(control.ended(name, "main", 1)) == [("main", True)]
    assert control.ended(name, "main", 0) == []

    assert control.job("once").is_complete
    assert control.pods[name].pod.hostname == name


def test_a_job_that_is_not_indexed_fails_after_so_many_tries() -> None:
    control, [name] = _applied(plain_job(retries=1))
    control.made(name)

    [again] = _made(control.ended(name, "main", 1))
    control.made(again)

    assert control.ended(again, "main", 1) == []
    assert control.job("once").has_failed
