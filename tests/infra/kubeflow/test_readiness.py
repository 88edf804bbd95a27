"""Whoever waits for a run's servers goes on when all are there, and is told why when they will not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest

from fedtier.problems import StartupError
from infra.kubeflow.steps.objects import MASTER, S3, WORKER
from infra.kubeflow.steps.readiness import Readiness, asked
from tests.authorities import HOST, Authority
from tests.infra.kubeflow.api_server import Refused
from tests.infra.kubeflow.runs import RUN, all_objects, settings
from tests.infra.kubeflow.scripted import RUNNING, Script, asked_of
from tests.infra.kubeflow.secure_servers import server

_COMPONENT: Final = "app.kubernetes.io/component"
_CREATING: Final = {"phase": "Pending", "containerStatuses": []}


class Hours:
    """A clock that goes on when somebody pauses, and has things happen meanwhile.

    Parameters
    ----------
    happening : dict of float to callable
        By the second at which it happens.
    """

    def __init__(self, happening: dict[float, Callable[[], object]] | None = None) -> None:
        self.now = 0.0
        self._happening = happening or {}

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
        for moment in [one for one in self._happening if one <= self.now]:
            self._happening.pop(moment)()


@pytest.fixture
def script() -> Script:
    return Script()


@contextmanager
def waiting(
    script: Script,
    folder: Path,
    hours: Hours,
    ask: Callable[[str, Path], str] = lambda url, authority: "",
) -> Iterator[Readiness]:
    """Give what waits for a run's servers, all of which are made."""
    wanted = settings()
    with asked_of(script, folder) as namespace:
        for one in all_objects(wanted):
            namespace.create(one)
        yield Readiness(namespace, wanted, folder / "ca.pem", limit=400, ask=ask, clock=hours, pause=hours.pause)


def become(script: Script, component: str, status: dict[str, Any]) -> None:
    for (resource, _), one in script.held.items():
        if resource == "pods" and one["metadata"]["labels"][_COMPONENT] == component:
            one["status"] = status


def container_that(**state: Any) -> dict[str, Any]:
    return {"phase": "Pending", "containerStatuses": [{"name": "server", "ready": False, "restartCount": 0, **state}]}


def test_a_wait_is_over_when_all_pods_are_ready_and_their_services_answer(script: Script, tmp_path: Path) -> None:
    script.status_of = lambda labels: _CREATING if labels[_COMPONENT] == WORKER else RUNNING
    answers: dict[str, str] = {}
    urls: list[str] = []

    def ask(url: str, authority: Path) -> str:
        urls.append(url)
        assert authority == tmp_path / "ca.pem"
        return answers.get(url, "")

    worker = f"https://{RUN}-worker-aggregator.team-a.svc:5001/readyz"
    answers[worker] = "answers 503"
    hours = Hours({30: lambda: become(script, WORKER, dict(RUNNING)), 40: answers.clear})
    with waiting(script, tmp_path, hours, ask) as readiness:
        readiness.wait_for(S3, MASTER, WORKER)
    assert hours.now == 40
    assert set(urls) == {
        f"https://{RUN}-s3.team-a.svc:8333/healthz",
        f"https://{RUN}-master-aggregator.team-a.svc:5000/readyz",
        worker,
    }


def test_one_worker_of_two_is_not_enough(script: Script, tmp_path: Path) -> None:
    hours = Hours()
    with waiting(script, tmp_path, hours) as readiness:
        script.held["pods", f"{RUN}-worker-aggregator-1"]["status"] = _CREATING
        with pytest.raises(StartupError, match=r"not ready after 400 s: worker-aggregator has 1 of 2 pods ready"):
            readiness.wait_for(WORKER)


def test_a_pod_that_is_to_end_does_not_count(script: Script, tmp_path: Path) -> None:
    with waiting(script, tmp_path, Hours()) as readiness:
        script.looks_until_gone = 10_000
        script.held["pods", f"{RUN}-s3-0"]["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z"
        with pytest.raises(StartupError, match="s3 has 0 of 1 pods ready"):
            readiness.wait_for(S3)


def test_pods_of_other_components_are_not_waited_for(script: Script, tmp_path: Path) -> None:
    script.status_of = lambda labels: RUNNING if labels[_COMPONENT] == S3 else _CREATING
    with waiting(script, tmp_path, Hours()) as readiness:
        readiness.wait_for(S3)


def test_an_image_that_cannot_be_pulled_ends_the_wait(script: Script, tmp_path: Path) -> None:
    hours = Hours()
    state = {"waiting": {"reason": "ErrImagePull", "message": "no-such:1: not found"}}
    script.status_of = lambda labels: container_that(state=state)
    with waiting(script, tmp_path, hours) as readiness, pytest.raises(StartupError) as told:
        readiness.wait_for(S3)
    assert str(told.value) == f"pod {RUN}-s3-0, container server: ErrImagePull (no-such:1: not found)"
    assert hours.now == 20


def test_an_image_that_is_there_after_all_does_not_end_it(script: Script, tmp_path: Path) -> None:
    script.status_of = lambda labels: container_that(state={"waiting": {"reason": "ErrImagePull"}})
    creating = container_that(state={"waiting": {"reason": "ContainerCreating"}})
    hours = Hours({15: lambda: become(script, S3, creating), 60: lambda: become(script, S3, dict(RUNNING))})
    with waiting(script, tmp_path, hours) as readiness:
        become(script, MASTER, dict(RUNNING))
        become(script, WORKER, dict(RUNNING))
        readiness.wait_for(S3)
    assert hours.now == 60


def test_a_container_that_crashes_ends_it_with_the_end_of_its_log(script: Script, tmp_path: Path) -> None:
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    crashed = container_that(restartCount=2, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended)
    script.status_of = lambda labels: crashed if labels[_COMPONENT] == MASTER else RUNNING
    script.logs[f"{RUN}-master-aggregator-0"] = '{"event": "starting"}\nError: FEDTIER_LR is -1, wanted more than 0\n'
    with waiting(script, tmp_path, Hours()) as readiness, pytest.raises(StartupError) as told:
        readiness.wait_for(S3, MASTER, WORKER)
    assert str(told.value) == (
        f"pod {RUN}-master-aggregator-0, container server: it ends again and again (Error, status 1); "
        'its log ends with:\n{"event": "starting"}\nError: FEDTIER_LR is -1, wanted more than 0'
    )


def test_a_pod_that_no_node_takes_ends_it_after_minutes(script: Script, tmp_path: Path) -> None:
    hours = Hours()
    message = "0/3 nodes are available: 3 Insufficient memory."
    placed = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    script.status_of = lambda labels: {"phase": "Pending", "conditions": [placed]}
    with waiting(script, tmp_path, hours) as readiness, pytest.raises(StartupError) as told:
        readiness.wait_for(S3)
    assert str(told.value) == f"pod {RUN}-s3-0: Unschedulable ({message})"
    assert hours.now == 300


def test_pods_that_are_refused_end_it(script: Script, tmp_path: Path) -> None:
    script.status_of = lambda labels: {}
    message = 'pods "x" is forbidden: exceeded quota: team-a'
    script.conditions.append({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message})
    with waiting(script, tmp_path, Hours()) as readiness, pytest.raises(StartupError) as told:
        readiness.wait_for(S3)
    assert str(told.value) == f"deployment {RUN}-s3: FailedCreate ({message})"


def test_a_pod_that_is_never_made_is_named_at_the_end(script: Script, tmp_path: Path) -> None:
    script.status_of = lambda labels: {} if labels[_COMPONENT] == MASTER else RUNNING
    with waiting(script, tmp_path, Hours()) as readiness, pytest.raises(StartupError) as told:
        readiness.wait_for(MASTER)
    sentence = "not ready after 400 s: master-aggregator has 0 of 1 pods ready (no pod has been made)"
    assert str(told.value) == sentence


def test_an_api_that_is_away_for_a_while_is_waited_for(script: Script, tmp_path: Path) -> None:
    away = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable", "etcdserver: leader changed")
    with waiting(script, tmp_path, Hours()) as readiness:
        script.refusals += [away] * 7  # more than it is asked at once
        readiness.wait_for(S3)
    assert not script.refusals


def test_what_is_waited_for_is_told_once(script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.status_of = lambda labels: _CREATING
    with waiting(script, tmp_path, Hours({50: lambda: become(script, S3, dict(RUNNING))})) as readiness:
        readiness.wait_for(S3)
    assert capsys.readouterr().out.splitlines() == [
        f"waiting: s3 has 0 of 1 pods ready (pod {RUN}-s3-0 is Pending)",
        "ready: s3",
    ]


@pytest.mark.parametrize(("status", "complaint"), [(200, ""), (503, "answers 503"), (302, "answers 302")])
def test_a_server_is_ready_that_says_so(status: int, complaint: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with server(status, authority.pair(HOST)) as url:
        assert asked(url, authority.certificate) == (f"{url} {complaint}" if complaint else "")


def test_a_server_of_another_authority_is_not_believed(tmp_path: Path) -> None:
    with server(200, Authority(tmp_path / "other").pair(HOST)) as url:
        assert asked(url, Authority(tmp_path / "own").certificate) == f"{url} does not answer (SSLError)"


def test_a_server_of_the_cluster_is_not_looked_for_behind_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with server(200, authority.pair(HOST)) as url:
        assert asked(url, authority.certificate) == ""


def test_a_name_that_is_not_known_yet_is_no_answer(tmp_path: Path) -> None:
    url = "https://no-such-host.invalid:5001/readyz"
    assert asked(url, Authority(tmp_path).certificate) == f"{url} does not answer (ConnectionError)"
