"""Objects are read whole, or not at all."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.infra.kubernetes.cluster.objects import KINDS, NOTHING_COMES_OF, Deployment, Objects
from tests.infra.kubernetes.cluster.samples import application, deployment, objects, settings, stateful


def test_a_field_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValidationError, match="hostNetwork"):
        objects(deployment(hostNetwork=True))


def test_a_kind_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="no DaemonSet"):
        objects({"kind": "DaemonSet", "metadata": {"name": "agent"}})


def test_a_pod_that_would_have_a_token_of_the_cluster_is_an_error() -> None:
    with pytest.raises(ValidationError, match="automountServiceAccountToken"):
        objects(deployment(automountServiceAccountToken=True))


def test_objects_of_two_namespaces_are_an_error() -> None:
    elsewhere = settings() | {"metadata": {"name": "settings", "namespace": "elsewhere"}}

    with pytest.raises(ValueError, match="several namespaces"):
        objects(settings(), elsewhere | {"metadata": {"name": "others", "namespace": "elsewhere"}})


def test_whatever_is_not_applied_says_why() -> None:
    reasons = dict(reason for kind in KINDS.values() for reason in kind.not_applied())

    assert "PodSpec.tolerations" in reasons
    assert all(len(reason) > 10 for reason in [*reasons.values(), *NOTHING_COMES_OF.values()])


def test_an_autoscaler_says_how_many_pods_there_are() -> None:
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 4},
    }
    found = objects(deployment("web"), deployment("other", replicas=3), deployment("one"), scaler)

    assert {one.metadata.name: found.replicas(one) for one in found.all(Deployment)} == {"web": 2, "other": 3, "one": 1}


def test_objects_are_found_by_kind_and_name() -> None:
    found = objects(deployment("same"), stateful("same"))

    assert found.get(Deployment, "same") is not None
    assert found.get(Deployment, "another") is None


def test_a_secret_is_not_shown() -> None:
    found = Objects.of(application())

    assert "emVybw==" not in repr(found)
