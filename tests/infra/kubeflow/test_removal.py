"""What a run has in the cluster goes, all of it and nothing else, and is gone when that is said."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import pytest

from fedtier.problems import StartupError
from infra.kubeflow.steps.objects import run_name
from infra.kubeflow.steps.removal import remove
from infra.kubeflow.steps.server_secrets import secret_names
from tests.infra.kubeflow.api_server import Refused
from tests.infra.kubeflow.runs import RUN, all_objects, settings
from tests.infra.kubeflow.scripted import Script, asked_of
from tests.infra.kubeflow.test_readiness import Hours

_OTHER = run_name("another run of this namespace")


@pytest.fixture
def script() -> Script:
    return Script()


def test_all_of_a_run_goes_and_another_run_stays(script: Script, tmp_path: Path) -> None:
    hours = Hours()
    with asked_of(script, tmp_path) as namespace:
        for one in all_objects(settings(run=_OTHER)):
            namespace.create(one)
        of_other = script.left
        for one in all_objects(settings()):
            namespace.create(one)
        removed = remove(namespace, RUN, clock=hours, pause=hours.pause)
    assert script.left == of_other
    assert sorted(removed) == sorted(
        [
            *(f"{one['kind']} {one['metadata']['name']}" for one in all_objects(settings())),
            *(f"Pod {RUN}-{name}" for name in ("s3-0", "master-aggregator-0", "worker-aggregator-0")),
            f"Pod {RUN}-worker-aggregator-1",
        ]
    )


def test_a_run_that_has_nothing_is_removed_again_and_again(script: Script, tmp_path: Path) -> None:
    with asked_of(script, tmp_path) as namespace:
        for one in all_objects(settings()):
            namespace.create(one)
        remove(namespace, RUN, pause=lambda _: None)
        assert remove(namespace, RUN) == []


def test_pods_are_waited_for(script: Script, tmp_path: Path) -> None:
    script.looks_until_gone = 17
    hours = Hours()
    with asked_of(script, tmp_path) as namespace:
        for one in all_objects(settings()):
            namespace.create(one)
        remove(namespace, RUN, clock=hours, pause=hours.pause)
    assert not script.left
    assert hours.now >= 17


def test_what_does_not_go_is_named(script: Script, tmp_path: Path) -> None:
    script.looks_until_gone = 10_000
    hours = Hours()
    with asked_of(script, tmp_path) as namespace:
        for one in all_objects(settings(workers=1)):
            namespace.create(one)
        with pytest.raises(StartupError) as told:
            remove(namespace, RUN, limit=100, clock=hours, pause=hours.pause)
    assert str(told.value) == (
        f"still there 100 s after it was to go: Pod {RUN}-s3-0, Pod {RUN}-master-aggregator-0, "
        f"Pod {RUN}-worker-aggregator-0"
    )


def test_what_comes_late_goes_too(script: Script, tmp_path: Path) -> None:
    (service, *_) = all_objects(settings())
    script.looks_until_gone = 5
    with asked_of(script, tmp_path) as namespace:
        for one in all_objects(settings()):
            namespace.create(one)
        late = service | {"metadata": service["metadata"] | {"name": f"{RUN}-late"}}
        hours = Hours({3: lambda: namespace.create(late)})
        assert f"Service {RUN}-late" in remove(namespace, RUN, clock=hours, pause=hours.pause)
    assert not script.left


def test_pods_go_before_what_made_them_and_are_not_left_behind(script: Script, tmp_path: Path) -> None:
    with asked_of(script, tmp_path) as namespace:
        for one in all_objects(settings()):
            namespace.create(one)
        remove(namespace, RUN, pause=lambda _: None)
    policies = {resource: policy for (resource, _), policy in script.policies.items()}
    assert policies.pop("deployments") == policies.pop("jobs") == "Foreground"
    assert set(policies.values()) == {"Background"}
    assert ("delete", "", "pods") not in script.asked


def test_secrets_are_neither_listed_nor_read(script: Script, tmp_path: Path) -> None:
    with asked_of(script, tmp_path) as namespace:
        for one in all_objects(settings()):
            namespace.create(one)
        remove(namespace, RUN, pause=lambda _: None)
    verbs = {verb for verb, _, resource in script.asked if resource == "secrets"}
    assert verbs == {"create", "delete"}
    deleted = [name for resource, name in script.policies if resource == "secrets"]
    assert deleted == secret_names(RUN)


def test_an_api_that_is_away_for_a_moment_is_asked_again(script: Script, tmp_path: Path) -> None:
    with asked_of(script, tmp_path) as namespace:
        for one in all_objects(settings()):
            namespace.create(one)
        script.refusals.append(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", "etcd is away"))
        remove(namespace, RUN, pause=lambda _: None)
    assert not script.left


def test_an_answer_that_is_lost_is_no_failure(script: Script, tmp_path: Path) -> None:
    with asked_of(script, tmp_path) as namespace:
        for one in all_objects(settings()):
            namespace.create(one)
        script.lost_answers = 1
        remove(namespace, RUN, pause=lambda _: None)
    assert not script.left
