"""`eks-cluster.yaml` says what the EKS overlay needs of its cluster.

There is no eksctl here, nor its schema: that eksctl knows every field, and that AWS makes what it says, is not tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any, Final

import pytest
import yaml

from fedtier.round_keys import RoundKeys
from tests.infra.kubernetes.kustomize import FOLDER, built
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.pods import Pod
from tests.infra.kubernetes.quantities import quantity

_ACTIONS: Final = {"s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:AbortMultipartUpload"}
_ROOM: Final = {"cpu": quantity("1930m"), "memory": quantity("6900Mi")}
"""What EKS leaves to pods on an m5.large."""
_SYSTEM: Final = {"cpu": quantity("450m"), "memory": quantity("700Mi")}
"""What the add-ons' pods ask for on a node: network, proxy, identity, disks, DNS and metrics."""


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    """The file."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "eks-cluster.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def eks() -> Manifests:
    """The overlay that the cluster is for."""
    return Manifests.parse(built(FOLDER / "overlays" / "eks"))


@pytest.fixture(scope="module")
def settings(eks: Manifests) -> Mapping[str, str]:
    """The federation's settings in the overlay."""
    found = eks.named("ConfigMap", "federation")
    assert found is not None
    data: Mapping[str, str] = found["data"]
    return data


def group(cluster: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a group of nodes."""
    return next(one for one in cluster["managedNodeGroups"] if one["name"] == name)


def association(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Return who gets rights in AWS that are written out."""
    found = [one for one in cluster["iam"]["podIdentityAssociations"] if "permissionPolicy" in one]
    assert len(found) == 1
    return dict(found[0])


def test_the_cluster_is_where_the_bucket_is(cluster: dict[str, Any], settings: Mapping[str, str]) -> None:
    assert cluster["metadata"]["region"] == "ap-northeast-2" == settings["AWS_REGION"]
    assert (cluster["apiVersion"], cluster["kind"]) == ("eksctl.io/v1alpha5", "ClusterConfig")


def test_servers_have_two_nodes_that_stay(cluster: dict[str, Any]) -> None:
    servers = group(cluster, "servers")
    assert (servers["instanceType"], servers["desiredCapacity"], servers["amiFamily"]) == (
        *("m5.large", 2),
        "AmazonLinux2023",
    )
    assert not servers.get("spot")
    assert "taints" not in servers
    assert servers["minSize"] >= 2


def test_clients_and_nobody_else_run_on_spot_instances(cluster: dict[str, Any], eks: Manifests) -> None:
    clients = group(cluster, "clients")
    (taint,) = clients["taints"]
    assert clients["spot"] is True
    tolerating = {
        pod.name for pod in eks.pods if any(_tolerates(one, taint) for one in pod.spec.get("tolerations", []))
    }
    assert tolerating == {"clients"}
    chosen = eks.pods_of("clients").spec["nodeSelector"]
    assert chosen.items() <= clients["labels"].items()
    assert not chosen.items() <= group(cluster, "servers")["labels"].items()


def test_every_client_has_room_on_the_spot_instances(cluster: dict[str, Any], eks: Manifests) -> None:
    pod, nodes = eks.pods_of("clients"), group(cluster, "clients")["maxSize"]
    for resource, room in _ROOM.items():
        per_node = (room - _SYSTEM[resource]) // asked_for(pod, resource)
        assert per_node * nodes >= pod.count, resource


def test_servers_have_room_on_their_two_nodes_when_scaled_to_the_most(cluster: dict[str, Any], eks: Manifests) -> None:
    (scaler,) = eks.of("HorizontalPodAutoscaler")
    workers = scaler["spec"]["maxReplicas"]
    for resource, room in _ROOM.items():
        free = room - _SYSTEM[resource]
        worker = asked_for(eks.pods_of("worker-aggregator"), resource)
        beside_master = (free - asked_for(eks.pods_of("master-aggregator"), resource)) // worker
        alone = free // worker
        assert beside_master + alone * (group(cluster, "servers")["desiredCapacity"] - 1) >= workers, resource


def test_only_the_master_has_a_role_and_it_is_its_own_account(cluster: dict[str, Any], eks: Manifests) -> None:
    found = association(cluster)
    master = eks.pods_of("master-aggregator")
    assert (found["namespace"], found["serviceAccountName"]) == (master.namespace, master.spec["serviceAccountName"])
    others = [pod.spec["serviceAccountName"] for pod in eks.pods if pod.name != master.name]
    assert found["serviceAccountName"] not in others


def test_the_master_may_do_what_it_needs_in_one_prefix_of_one_bucket(
    cluster: dict[str, Any], settings: Mapping[str, str]
) -> None:
    keys = RoundKeys(settings["FEDTIER_BUCKET_KEY"])
    bucket = f"arn:aws:s3:::{settings['FEDTIER_BUCKET_NAME']}"
    own = {f"{bucket}/{keys.prefix}/*", f"{bucket}/{settings['FEDTIER_BUCKET_KEY']}"}
    allowed: dict[str, set[str]] = {}
    for statement in association(cluster)["permissionPolicy"]["Statement"]:
        assert statement["Effect"] == "Allow"
        for action in statement["Action"]:
            allowed.setdefault(action, set()).update(statement["Resource"])
    listing = allowed.pop("s3:ListBucket")
    assert allowed.keys() | {"s3:ListBucket"} == _ACTIONS
    assert listing == {bucket}
    assert all(resources == own for resources in allowed.values()), allowed
    for key in (keys.head, settings["FEDTIER_BUCKET_KEY"]):
        assert any(fnmatchcase(f"{bucket}/{key}", pattern) for pattern in allowed["s3:PutObject"])


def test_listing_is_kept_to_the_prefix(cluster: dict[str, Any], settings: Mapping[str, str]) -> None:
    keys = RoundKeys(settings["FEDTIER_BUCKET_KEY"])
    (statement,) = [
        one for one in association(cluster)["permissionPolicy"]["Statement"] if "s3:ListBucket" in one["Action"]
    ]
    ((_, condition),) = statement["Condition"].items()
    assert set(condition["s3:prefix"]) == {f"{keys.prefix}/*", settings["FEDTIER_BUCKET_KEY"]}


def test_what_the_manifests_build_on_is_there(cluster: dict[str, Any], eks: Manifests) -> None:
    addons = {one["name"]: one for one in cluster["addons"]}
    assert addons.keys() >= {"vpc-cni", "coredns", "kube-proxy", "eks-pod-identity-agent", "metrics-server"}
    provisioners = {one["provisioner"] for one in eks.of("StorageClass")}
    assert provisioners == {"ebs.csi.aws.com"}
    assert "aws-ebs-csi-driver" in addons
    network = yaml.safe_load(addons["vpc-cni"]["configurationValues"])
    assert network["enableNetworkPolicy"] == "true"


def test_the_load_balancer_controller_has_its_rights_and_is_named_as_a_step(cluster: dict[str, Any]) -> None:
    known = [one for one in cluster["iam"]["podIdentityAssociations"] if one.get("wellKnownPolicies")]
    assert [(one["serviceAccountName"], one["wellKnownPolicies"]) for one in known] == [
        ("aws-load-balancer-controller", {"awsLoadBalancerController": True})
    ]
    assert "helm install aws-load-balancer-controller" in (FOLDER / "eks-cluster.yaml").read_text()


def test_pods_get_nothing_of_their_node(cluster: dict[str, Any]) -> None:
    for one in cluster["managedNodeGroups"]:
        assert (one["disableIMDSv1"], one["disablePodIMDS"], one["volumeEncrypted"]) == (True, True, True)


def test_what_is_written_twice_is_written_alike(settings: Mapping[str, str], cluster: dict[str, Any]) -> None:
    text = (FOLDER / "eks-cluster.yaml").read_text()
    assert f"region={settings['AWS_REGION']}" in text
    assert f"clusterName={cluster['metadata']['name']}" in text


def asked_for(pod: Pod, resource: str) -> Fraction:
    """Return what a pod asks for: all its containers together, or the one of those that prepare it that asks most."""
    together = sum((_request(one.spec, resource) for one in pod.containers), Fraction())
    first = [_request(one.spec, resource) for one in pod.all_containers if one.is_init]
    return max([together, *first])


def _request(container: Mapping[str, Any], resource: str) -> Fraction:
    return quantity(container["resources"]["requests"][resource])


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, taint["key"])
    return (toleration.get("key"), toleration.get("value", "")) == (taint["key"], taint.get("value", ""))
