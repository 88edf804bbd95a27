"""`eks-cluster.yaml` makes the cluster that the EKS overlay needs, by rules that object where it does not."""

from __future__ import annotations

from typing import Final

import pytest
import yaml

from tests.infra.kubernetes.catalogue import ABOUT_EKS, Rule
from tests.infra.kubernetes.kustomize import FOLDER, built
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.mutations import GONE, Lost, Mutation, each_of, more

_FILE: Final = FOLDER / "eks-cluster.yaml"
_CLUSTER, _CLIENT, _WORKER = "ClusterConfig/fedtier", "Job/clients", "Deployment/worker-aggregator"
_SERVERS, _SPOT = "managedNodeGroups servers", "managedNodeGroups clients"
_IDENTITY: Final = "iam podIdentityAssociations 0"
_STATEMENTS: Final = f"{_IDENTITY} permissionPolicy Statement"
_POD: Final = "spec template spec"
_REQUESTS: Final = "resources requests"

CASES: Final[dict[str, list[Mutation | Lost]]] = {
    "the_cluster_is_where_the_bucket_is": [
        Mutation(_CLUSTER, "metadata region", "us-east-1"),
        Mutation("ConfigMap/federation", "data AWS_REGION", "us-east-1"),
    ],
    "servers_have_two_nodes_that_stay": [
        Mutation(_CLUSTER, f"{_SERVERS} desiredCapacity", 1),
        Mutation(_CLUSTER, f"{_SERVERS} minSize", 1),
        Mutation(_CLUSTER, f"{_SERVERS} amiFamily", "AmazonLinux2"),
        Mutation(_CLUSTER, f"{_SERVERS} instanceType", "t3.large"),
        Mutation(_CLUSTER, _SERVERS, more(spot=True)),
        Mutation(_CLUSTER, _SERVERS, more(taints=[{"key": "a", "effect": "NoSchedule"}])),
    ],
    "clients_and_nobody_else_run_on_spot_instances": [
        Mutation(_CLUSTER, f"{_SPOT} spot", False),
        Mutation(_CLUSTER, f"{_SPOT} taints", GONE),
        Mutation(_CLUSTER, f"{_SPOT} taints 0 value", "spot"),
        Mutation(_CLUSTER, f"{_SPOT} taints 0 effect", "NoExecute"),
        Mutation(_CLUSTER, f"{_SPOT} labels", {"pool": "clients"}),
        Mutation(_CLIENT, f"{_POD} tolerations", GONE),
        Mutation(_CLIENT, f"{_POD} nodeSelector", GONE),
        Mutation(_WORKER, _POD, more(tolerations=[{"operator": "Exists"}])),
    ],
    "pods_have_room_on_their_nodes": [
        Mutation(_CLUSTER, f"{_SPOT} maxSize", 1),
        Mutation(_CLIENT, "spec completions", 30),
        Mutation(_CLIENT, f"{_POD} containers client {_REQUESTS} memory", "7Gi"),
        Mutation(_WORKER, f"{_POD} containers worker-aggregator {_REQUESTS} cpu", "1"),
        Mutation("HorizontalPodAutoscaler/worker-aggregator", "spec maxReplicas", 20),
    ],
    "only_the_master_has_a_role": [
        Mutation(_CLUSTER, f"{_IDENTITY} serviceAccountName", "default"),
        Mutation(_CLUSTER, f"{_IDENTITY} namespace", "default"),
        Mutation(_CLUSTER, f"{_IDENTITY} permissionPolicy", GONE),
        Mutation(_WORKER, f"{_POD} serviceAccountName", "master-aggregator"),
    ],
    "the_master_may_do_what_it_needs_in_one_prefix_of_one_bucket": [
        Mutation("ConfigMap/federation", "data FEDTIER_BUCKET_NAME", "another"),
        Mutation("ConfigMap/federation", "data FEDTIER_BUCKET_KEY", "jobs/another.safetensors"),
        Mutation(_CLUSTER, f"{_STATEMENTS} 0 Action", ["s3:*"]),
        Mutation(_CLUSTER, f"{_STATEMENTS} 2 Action", ["s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"]),
        Mutation(_CLUSTER, f"{_STATEMENTS} 0 Resource", ["*"]),
        Mutation(_CLUSTER, f"{_STATEMENTS} 2 Resource 1", GONE),
        Mutation(_CLUSTER, f"{_STATEMENTS} 1 Condition", GONE),
        Mutation(_CLUSTER, f"{_STATEMENTS} 1 Resource", ["arn:aws:s3:::*"]),
        Mutation(_CLUSTER, f"{_STATEMENTS} 2", GONE),
    ],
    "what_the_manifests_build_on_is_there": [
        Mutation(_CLUSTER, "addons metrics-server", GONE),
        Mutation(_CLUSTER, "addons aws-ebs-csi-driver", GONE),
        Mutation(_CLUSTER, "addons vpc-cni configurationValues", GONE),
        Mutation(_CLUSTER, "addons vpc-cni configurationValues", '{"enableNetworkPolicy": "false"}'),
        Mutation("StorageClass/fedtier-gp3", "parameters type", "gp2"),
    ],
    "the_load_balancer_controller_has_its_rights": [
        Mutation(_CLUSTER, "iam podIdentityAssociations 1 wellKnownPolicies", GONE),
        Mutation(_CLUSTER, "iam podIdentityAssociations 1", GONE),
    ],
    "pods_get_nothing_of_their_node": [
        Mutation(_CLUSTER, f"{_SERVERS} disablePodIMDS", GONE),
        Mutation(_CLUSTER, f"{_SPOT} volumeEncrypted", False),
    ],
}
RULES: Final = {rule.__name__: rule for rule in ABOUT_EKS}


@pytest.fixture(scope="module")
def together() -> Manifests:
    """The overlay, and the cluster that is made for it."""
    return Manifests.parse(built(FOLDER / "overlays" / "eks")) + Manifests.parse(_FILE.read_text())


@pytest.mark.parametrize("rule", ABOUT_EKS, ids=lambda rule: rule.__name__)
def test_a_rule_holds(rule: Rule, together: Manifests) -> None:
    assert list(rule(together)) == []


def test_every_rule_is_shown_to_object() -> None:
    assert CASES.keys() == RULES.keys()


@each_of(CASES)
def test_a_rule_objects(name: str, mutation: Mutation | Lost, together: Manifests) -> None:
    assert list(RULES[name](mutation.of(together))), "nothing is said of it"


def test_steps_that_are_written_beside_it_name_the_same_cluster() -> None:
    text = _FILE.read_text()
    cluster = yaml.safe_load(text)
    assert (cluster["apiVersion"], cluster["kind"]) == ("eksctl.io/v1alpha5", "ClusterConfig")
    assert "helm install aws-load-balancer-controller" in text
    assert f"region={cluster['metadata']['region']}" in text
    assert f"clusterName={cluster['metadata']['name']}" in text
