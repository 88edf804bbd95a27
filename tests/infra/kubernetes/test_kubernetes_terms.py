"""Quantities, selectors and variables mean here what they mean in Kubernetes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tests.infra.kubernetes.environment import environment_of, words_of
from tests.infra.kubernetes.expansion import expanded
from tests.infra.kubernetes.manifests import Manifests, matches
from tests.infra.kubernetes.pods import COMPLETION_INDEX
from tests.infra.kubernetes.quantities import quantity


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("250m", Fraction(1, 4)),
        ("1", Fraction(1)),
        (2, Fraction(2)),
        (0.5, Fraction(1, 2)),
        ("1.5Gi", Fraction(3 * 2**29)),
        ("512Mi", Fraction(2**29)),
        ("1k", Fraction(1000)),
        ("1M", Fraction(10**6)),
        ("1E", Fraction(10**18)),
        ("1Ei", Fraction(2**60)),
        ("12e3", Fraction(12000)),
        ("1e-3", Fraction(1, 1000)),
    ],
)
def test_a_quantity_is_an_exact_amount(text: str | float, amount: Fraction) -> None:
    assert quantity(text) == amount


@pytest.mark.parametrize("text", ["", "Mi", "1 Gi", "1GiB", "1KB", "1K", "one", "-1Gi", "1mi", "0x10", "1e", "1Gi\n"])
def test_what_kubernetes_would_refuse_or_take_for_something_else_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity(text)


@pytest.mark.parametrize(
    ("selector", "is_matched"),
    [
        ({}, True),
        ({"matchLabels": {"tier": "worker"}}, True),
        ({"matchLabels": {"tier": "worker", "zone": "b"}}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["worker", "master"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["worker"]}]}, False),
        ({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["b"]}]}, True),
        ({"matchExpressions": [{"key": "zone", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}, True),
        ({"matchLabels": {"tier": "worker"}, "matchExpressions": [{"key": "zone", "operator": "Exists"}]}, False),
    ],
)
def test_a_selector_matches_when_all_of_it_does(selector: dict[str, Any], is_matched: bool) -> None:
    assert matches(selector, {"tier": "worker"}) is is_matched


def test_an_operator_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="Is is no operator"):
        matches({"matchExpressions": [{"key": "tier", "operator": "Is"}]}, {})


def test_what_has_no_value_stays_and_two_dollars_are_one() -> None:
    assert expanded("$(A)-$(B)-$$(A)-$A-$(", {"A": "1"}) == "1-$(B)-$(A)-$A-$("


def pod_with(kind: str, env: list[dict[str, Any]], **more: Any) -> Manifests:
    """Return manifests of one pod, with a ConfigMap beside it."""
    container = {"name": "c", "image": "fedtier-client:1", "env": env, **more}
    pods = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "clients"}}
    settings = {"kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"FIRST": "1", "SECOND": "2"}}
    service = {"kind": "Service", "metadata": {"name": "fedtier-master"}}
    return Manifests(({**pods, "spec": {"template": {"spec": {"containers": [container]}}}}, settings, service))


def variables(manifests: Manifests, index: int = 0) -> dict[str, str]:
    (pod,) = manifests.pods
    return environment_of(pod, pod.containers[0], manifests, index=index)


def test_a_variable_sees_those_before_it_and_the_whole_of_those_that_come_together() -> None:
    env = [
        {"name": "LATER", "value": "$(SECOND)"},
        {"name": "EARLY", "value": "$(LAST)"},
        {"name": "LAST", "value": "3"},
    ]
    found = variables(pod_with("Deployment", env, envFrom=[{"configMapRef": {"name": "settings"}}]))
    assert (found["LATER"], found["EARLY"], found["FIRST"]) == ("2", "$(LAST)", "1")


def test_the_completion_index_comes_last_unless_it_is_asked_for_before() -> None:
    named = {"name": "ID", "value": "client-$(JOB_COMPLETION_INDEX)"}
    asked = {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": COMPLETION_INDEX}}}
    assert variables(pod_with("Job", [named]), index=2)["ID"] == "client-$(JOB_COMPLETION_INDEX)"
    assert variables(pod_with("Job", [asked, named]), index=2)["ID"] == "client-2"


def test_words_see_every_variable_also_the_index_that_comes_last() -> None:
    manifests = pod_with("Job", [], args=["client", "--client-id=client-$(JOB_COMPLETION_INDEX)"])
    (pod,) = manifests.pods
    assert words_of(pod.containers[0], variables(manifests, index=1)) == ["client", "--client-id=client-1"]


def test_every_service_brings_variables_that_may_pass_for_settings() -> None:
    assert "FEDTIER_MASTER_PORT" in variables(pod_with("Deployment", []))
