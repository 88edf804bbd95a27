"""Nothing is wrong with what each overlay applies, by any rule; `test_rules.py` shows that the rules object."""

from __future__ import annotations

import pytest

from tests.infra.kubernetes.catalogue import ABOUT_EVERYTHING, ABOUT_THE_REPOSITORY, Rule
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.pods import Document


@pytest.mark.parametrize("rule", ABOUT_EVERYTHING, ids=lambda rule: rule.__name__)
def test_a_rule_holds(rule: Rule, manifests: Manifests, secrets: Manifests) -> None:
    assert list(rule(manifests + secrets)) == []


@pytest.mark.parametrize("rule", ABOUT_THE_REPOSITORY, ids=lambda rule: rule.__name__)
def test_a_rule_about_the_repository_holds(rule: Rule, manifests: Manifests) -> None:
    assert list(rule(manifests)) == []


def test_an_overlay_has_all_that_a_federation_needs(manifests: Manifests) -> None:
    assert {"master-aggregator", "worker-aggregator", "clients"} <= {pod.name for pod in manifests.pods}
    kinds = {one["kind"] for one in manifests.objects}
    assert {"HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "StatefulSet", "Job"} <= kinds


def test_no_object_lies_outside_of_the_namespace(manifests: Manifests) -> None:
    everywhere = {"Namespace", "PriorityClass", "StorageClass"}
    for one in manifests.objects:
        assert one["metadata"].get("namespace", "fedtier") == "fedtier"
        assert ("namespace" in one["metadata"]) is (one["kind"] not in everywhere), one


def test_workers_are_spread_over_nodes_and_zones(manifests: Manifests) -> None:
    spread = manifests.pods_of("worker-aggregator").spec["topologySpreadConstraints"]
    assert {one["topologyKey"] for one in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_a_client_that_its_node_takes_away_is_made_anew_and_not_counted_as_failed(manifests: Manifests) -> None:
    job = manifests.named("Job", "clients")
    assert job is not None
    ignored = [rule for rule in job["spec"]["podFailurePolicy"]["rules"] if rule["action"] == "Ignore"]
    assert {condition["type"] for rule in ignored for condition in rule["onPodConditions"]} == {"DisruptionTarget"}
    assert job["spec"]["backoffLimitPerIndex"] > 0
    assert job["spec"]["podReplacementPolicy"] == "Failed"  # or two pods would be one client


def test_a_client_sees_no_token_but_its_own(manifests: Manifests) -> None:
    mounts = [
        mount
        for container in manifests.pods_of("clients").all_containers
        for mount in container.mounts
        if _is_tokens(manifests.pods_of("clients").volumes[mount["name"]])
    ]
    assert [mount.get("subPathExpr") for mount in mounts] == ["client-$(JOB_COMPLETION_INDEX).token"]


def _is_tokens(volume: Document) -> bool:
    return bool(volume.get("secret", {}).get("secretName") == "client-tokens")
