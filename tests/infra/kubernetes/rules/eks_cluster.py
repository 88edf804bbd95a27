"""`eks-cluster.yaml` makes the cluster that the EKS overlay needs; the rules take both together.

There is no eksctl here, nor its schema: that eksctl knows every field, and that AWS makes what it says, is not checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import yaml

from fedtier.round_keys import RoundKeys
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.pods import Document, Pod
from tests.infra.kubernetes.quantities import quantity

_REGION: Final = "ap-northeast-2"
_OBJECT_ACTIONS: Final = {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"}
_LISTING: Final = "s3:ListBucket"
_ADDONS: Final = {
    *("vpc-cni", "coredns", "kube-proxy", "eks-pod-identity-agent", "aws-ebs-csi-driver", "metrics-server"),
}
_ROOM: Final = {"cpu": quantity("1930m"), "memory": quantity("6900Mi")}
"""What EKS leaves to pods on an m5.large."""
_SYSTEM: Final = {"cpu": quantity("450m"), "memory": quantity("700Mi")}
"""What the add-ons' pods ask for on a node: network, proxy, identity, disks, DNS and metrics."""


def the_cluster_is_where_the_bucket_is(manifests: Manifests) -> Iterator[str]:
    """Cluster and bucket are in the region that was asked for."""
    regions = {"cluster": _cluster(manifests)["metadata"]["region"], "bucket": _setting(manifests, "AWS_REGION")}
    for what, region in regions.items():
        if region != _REGION:
            yield f"the {what} is in {region}, and not in {_REGION}"


def servers_have_two_nodes_that_stay(manifests: Manifests) -> Iterator[str]:
    """Their group is two m5.large of AL2023, which no price takes away, and no taint keeps them off."""
    servers = _group(manifests, "servers")
    wanted = {"instanceType": "m5.large", "amiFamily": "AmazonLinux2023", "desiredCapacity": 2}
    if not wanted.items() <= servers.items() or servers["minSize"] < 2:
        yield f"servers are not at least two nodes {wanted}"
    if servers.get("spot") or servers.get("taints"):
        yield "servers do not stay where they are"


def clients_and_nobody_else_run_on_spot_instances(manifests: Manifests) -> Iterator[str]:
    """The spot group's taint is tolerated by clients alone, who also look for the group's label."""
    clients = _group(manifests, "clients")
    if clients.get("spot") is not True:
        yield "clients pay for instances that stay"
    for taint in clients.get("taints") or [{"key": "none", "effect": "NoSchedule"}]:
        able = [pod.name for pod in manifests.pods if _tolerates(pod, taint)]
        if able != ["clients"]:
            yield f"the spot group's taint {taint} is tolerated by {able}"
    chosen = manifests.pods_of("clients").spec.get("nodeSelector") or {}
    found = [one["name"] for one in _groups(manifests) if chosen.items() <= one["labels"].items()]
    if found != ["clients"]:
        yield f"clients look for nodes {chosen}, which are those of {found}"


def pods_have_room_on_their_nodes(manifests: Manifests) -> Iterator[str]:
    """Clients fit on the most spot instances that there may be, and servers, as many as may be, on their two nodes."""
    client, nodes = manifests.pods_of("clients"), _group(manifests, "clients")["maxSize"]
    worker, master = manifests.pods_of("worker-aggregator"), manifests.pods_of("master-aggregator")
    (scaler,) = manifests.of("HorizontalPodAutoscaler")
    others = _group(manifests, "servers")["desiredCapacity"] - 1
    for resource, whole in _ROOM.items():
        room = whole - _SYSTEM[resource]
        if room // client.asks_for(resource) * nodes < client.count:
            yield f"{client.count} clients have no room on {nodes} nodes by their {resource}"
        beside_master = (room - master.asks_for(resource)) // worker.asks_for(resource)
        workers = beside_master + room // worker.asks_for(resource) * others
        if workers < scaler["spec"]["maxReplicas"]:
            yield f"there is room for {workers} workers by their {resource}"


def only_the_master_has_a_role(manifests: Manifests) -> Iterator[str]:
    """Pod Identity's rights go to the master's service account, which no other pod has."""
    master = manifests.pods_of("master-aggregator")
    holders = [(one["namespace"], one["serviceAccountName"]) for one in _rights(manifests)]
    if holders != [(master.namespace, master.spec["serviceAccountName"])]:
        yield f"rights are those of {holders}, and not the master's"
    for pod in manifests.pods:
        if pod.name != master.name and (pod.namespace, pod.spec["serviceAccountName"]) in holders:
            yield f"{pod.maker} has the master's rights"


def the_master_may_do_what_it_needs_in_one_prefix_of_one_bucket(manifests: Manifests) -> Iterator[str]:
    """It reads and writes the federation's objects, lists no others, and may do nothing else."""
    key = _setting(manifests, "FEDTIER_BUCKET_KEY")
    keys, bucket = RoundKeys(key), f"arn:aws:s3:::{_setting(manifests, 'FEDTIER_BUCKET_NAME')}"
    own, allowed = {f"{bucket}/{keys.prefix}/*", f"{bucket}/{key}"}, _allowed(manifests)
    if allowed.keys() != _OBJECT_ACTIONS | {_LISTING}:
        yield f"the master may {sorted(allowed)}"
    for action, resources in allowed.items():
        if resources != ({bucket} if action == _LISTING else own):
            yield f"the master may {action} {sorted(resources)}"
        elif action != _LISTING and not all(_covers(resources, f"{bucket}/{one}") for one in (key, keys.head)):
            yield f"the master may not {action} of all that it needs"
    for statement in _statements(manifests):
        conditions = [patterns for one in statement.get("Condition", {}).values() for patterns in one.values()]
        if _LISTING in statement["Action"] and conditions != [[f"{keys.prefix}/*", key]]:
            yield f"the master may list what {conditions} says"


def what_the_manifests_build_on_is_there(manifests: Manifests) -> Iterator[str]:
    """Add-ons for volumes, metrics and identities are there, and policies are in force."""
    addons = {one["name"]: one for one in _cluster(manifests)["addons"]}
    for name in sorted(_ADDONS - addons.keys()):
        yield f"the add-on {name} is missing"
    settings = yaml.safe_load(addons.get("vpc-cni", {}).get("configurationValues") or "{}")
    if settings.get("enableNetworkPolicy") != "true":
        yield "NetworkPolicies are not in force"
    for one in manifests.of("StorageClass"):
        if one["provisioner"] != "ebs.csi.aws.com" or one["parameters"].get("type") != "gp3":
            yield f"StorageClass/{one['metadata']['name']} is none of gp3"


def the_load_balancer_controller_has_its_rights(manifests: Manifests) -> Iterator[str]:
    """It is no add-on of EKS, and gets AWS' own policy for it."""
    found = [
        one for one in _associations(manifests) if one.get("wellKnownPolicies", {}).get("awsLoadBalancerController")
    ]
    if [one["serviceAccountName"] for one in found] != ["aws-load-balancer-controller"]:
        yield "the AWS Load Balancer Controller has no rights"


def pods_get_nothing_of_their_node(manifests: Manifests) -> Iterator[str]:
    """The metadata of instances, and so their role, are out of reach, and disks are encrypted."""
    for one in _groups(manifests):
        for flag in ("disableIMDSv1", "disablePodIMDS", "volumeEncrypted"):
            if one.get(flag) is not True:
                yield f"nodes {one['name']} have no {flag}"


def _cluster(manifests: Manifests) -> Document:
    (found,) = manifests.of("ClusterConfig")
    return found


def _groups(manifests: Manifests) -> list[Document]:
    return list(_cluster(manifests)["managedNodeGroups"])


def _group(manifests: Manifests, name: str) -> Document:
    return next(one for one in _groups(manifests) if one["name"] == name)


def _setting(manifests: Manifests, name: str) -> str:
    found = manifests.named("ConfigMap", "federation")
    assert found is not None
    return str(found["data"].get(name))


def _associations(manifests: Manifests) -> list[Document]:
    return list(_cluster(manifests)["iam"]["podIdentityAssociations"])


def _rights(manifests: Manifests) -> list[Document]:
    """Return those whose rights are written out."""
    return [one for one in _associations(manifests) if "permissionPolicy" in one]


def _statements(manifests: Manifests) -> Iterator[Document]:
    for one in _rights(manifests):
        yield from one["permissionPolicy"]["Statement"]


def _allowed(manifests: Manifests) -> dict[str, set[str]]:
    """Return on what each action is allowed."""
    found: dict[str, set[str]] = {}
    for statement in _statements(manifests):
        for action in statement["Action"]:
            found.setdefault(action, set()).update(statement["Resource"])
    return found


def _covers(patterns: set[str], resource: str) -> bool:
    return any(fnmatchcase(resource, pattern) for pattern in patterns)


def _tolerates(pod: Pod, taint: Mapping[str, Any]) -> bool:
    return any(_is_for(one, taint) for one in pod.spec.get("tolerations") or [])


def _is_for(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, taint["key"])
    return (toleration.get("key"), toleration.get("value", "")) == (taint["key"], taint.get("value", ""))
