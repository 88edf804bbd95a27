"""Variables of containers are those that a real kubelet would give them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infra.kubernetes.cluster.objects import Job, Objects
from tests.infra.kubernetes.cluster.pods import Pod, job_pod
from tests.infra.kubernetes.cluster.samples import job, objects, settings
from tests.infra.kubernetes.cluster.variables import environment, service_links

_INDEX = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}


def _variables(*documents: Any, env: Any = (), env_from: Any = (), **spec: Any) -> dict[str, str]:
    container = {"name": "main", "image": "image", "env": list(env), "envFrom": list(env_from)}
    found = objects(job(containers=[container], **spec), *documents)
    pod = _pod(found)
    return environment(pod, pod.spec.containers[0], found, {"WEB_PORT": "tcp://10.96.0.1:80"})


def _pod(found: Objects) -> Pod:
    return job_pod(found.all(Job)[0], 1, "abc")


def test_a_reference_is_to_what_stands_before_it() -> None:
    late = [
        {"name": "ID", "value": "client-$(LATE)"},
        {"name": "LATE", "value": "1"},
        {"name": "NOW", "value": "$(LATE)"},
    ]

    found = _variables(env=late)

    assert (found["ID"], found["NOW"]) == ("client-$(LATE)", "1")


def test_the_index_comes_too_late_for_references_unless_the_template_brings_it() -> None:
    own = {"name": "ID", "value": "client-$(JOB_COMPLETION_INDEX)"}

    without, with_it = (
        _variables(env=[own]),
        _variables(env=[{"name": "JOB_COMPLETION_INDEX", "valueFrom": _INDEX}, own]),
    )

    assert (without["ID"], without["JOB_COMPLETION_INDEX"]) == ("client-$(JOB_COMPLETION_INDEX)", "1")
    assert with_it["ID"] == "client-1"


def test_what_a_container_names_goes_before_what_it_takes_whole() -> None:
    found = _variables(
        settings(A="1", B="2"),
        env=[{"name": "B", "value": "own $(A)"}],
        env_from=[{"configMapRef": {"name": "settings"}}],
    )

    assert (found["A"], found["B"]) == ("1", "own 1")


def test_links_of_services_are_there_unless_they_are_declined() -> None:
    assert _variables()["WEB_PORT"] == "tcp://10.96.0.1:80"
    assert "WEB_PORT" not in _variables(enableServiceLinks=False)
    assert dict(service_links({"a-b": ("10.96.0.2", (443,))}))["A_B_SERVICE_HOST"] == "10.96.0.2"


@pytest.mark.parametrize(
    "env",
    [
        [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "NOT_THERE"}}}],
        [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "not-there", "key": "A"}}}],
        [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
    ],
)
def test_a_reference_to_what_is_not_there_is_an_error(env: Any) -> None:
    with pytest.raises(ValueError, match=r"no key|there is no|does not know"):
        _variables(settings(A="1"), env=env)


def test_what_is_optional_may_be_missing() -> None:
    wanted = {"configMapKeyRef": {"name": "settings", "key": "NOT_THERE", "optional": True}}

    assert "A" not in _variables(settings(), env=[{"name": "A", "valueFrom": wanted}])
