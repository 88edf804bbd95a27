"""Every rule objects to manifests that are broken in its way."""

from __future__ import annotations

from typing import Final

import pytest

from tests.infra.kubernetes.catalogue import ABOUT_EVERYTHING, ABOUT_THE_REPOSITORY
from tests.infra.kubernetes.kustomize import FOLDER, built
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.mutations import GONE, Added, Lost, Mutation, each_of, more
from tests.infra.kubernetes.secrets_made import secrets_made

_MASTER, _WORKER, _CLIENT = "StatefulSet/master-aggregator", "Deployment/worker-aggregator", "Job/clients"
_POD: Final = "spec template spec"
_OF_MASTER: Final = f"{_POD} containers master-aggregator"
_OF_WORKER: Final = f"{_POD} containers worker-aggregator"
_OF_CLIENT: Final = f"{_POD} containers client"
_COMPONENT: Final = "app.kubernetes.io/component"
_SCALER, _BUDGET = "HorizontalPodAutoscaler/worker-aggregator", "PodDisruptionBudget/worker-aggregator"
_CONTEXT: Final = f"{_POD} securityContext"

CASES: Final[dict[str, list[Mutation | Lost | Added]]] = {
    "selectors_match_what_they_mean": [
        Mutation("Service/worker-aggregator", f"spec selector {_COMPONENT}", "worker"),
        Mutation("Service/tensorboard", f"spec selector {_COMPONENT}", "tensorboard"),
        Mutation("Service/master-aggregator", f"spec selector {_COMPONENT}", GONE),
        Mutation("Service/master-aggregator", "spec selector", GONE),
        Mutation(_BUDGET, "spec selector matchLabels", {}),
        Mutation(_MASTER, f"spec template metadata labels {_COMPONENT}", "master"),
        Mutation(_WORKER, "metadata namespace", "default"),
        Mutation(_BUDGET, "spec selector", {"matchExpressions": [{"key": _COMPONENT, "operator": "DoesNotExist"}]}),
    ],
    "spread_counts_the_pods_that_it_spreads": [
        Mutation(_WORKER, f"{_POD} topologySpreadConstraints 0 labelSelector", GONE),
        Mutation(_WORKER, f"{_POD} topologySpreadConstraints 1 labelSelector matchLabels {_COMPONENT}", GONE),
    ],
    "policies_select_somebody": [
        Mutation("NetworkPolicy/client", f"spec podSelector matchLabels {_COMPONENT}", "clients"),
        Mutation("NetworkPolicy/client", f"spec egress 0 to 0 podSelector matchLabels {_COMPONENT}", "worker"),
        Mutation("NetworkPolicy/worker-aggregator", "spec ingress 0 from 0 podSelector matchLabels", {"app": "client"}),
    ],
    "service_ports_lead_to_ports_of_the_pods": [
        Mutation("Service/worker-aggregator", "spec ports https targetPort", "http"),
        Mutation("Service/master-aggregator", "spec ports https targetPort", 5001),
        Mutation("Service/worker-aggregator-outside", "spec ports https targetPort", GONE),
        Mutation(_WORKER, f"{_OF_WORKER} ports https name", "web"),
    ],
    "probes_ask_ports_of_their_container": [
        Mutation(_WORKER, f"{_OF_WORKER} readinessProbe httpGet port", "http"),
        Mutation(_MASTER, f"{_POD} containers tensorboard livenessProbe httpGet port", "https"),
        Mutation(_MASTER, f"{_OF_MASTER} startupProbe httpGet port", 5001),
    ],
    "names_of_ports_are_unique_in_a_pod": [
        Mutation(_MASTER, f"{_POD} containers tensorboard ports tensorboard name", "https"),
        Mutation(_MASTER, f"{_POD} containers tensorboard ports tensorboard containerPort", 5000),
    ],
    "what_a_service_sends_to_has_a_readiness_probe": [
        Mutation(_WORKER, f"{_OF_WORKER} readinessProbe", GONE),
        Mutation("StatefulSet/s3", f"{_POD} containers tls readinessProbe", GONE),
    ],
    "containers_ask_for_what_they_may_have": [
        Mutation(_WORKER, f"{_OF_WORKER} resources requests memory", "512MiB"),
        Mutation(_WORKER, f"{_OF_WORKER} resources requests memory", "3Gi"),
        Mutation(_WORKER, f"{_OF_WORKER} resources requests cpu", "2500m"),
        Mutation(_MASTER, f"{_POD} initContainers initial-model resources limits memory", GONE),
        Mutation(_CLIENT, f"{_OF_CLIENT} resources", GONE),
    ],
    "volumes_have_a_size": [
        Mutation(_WORKER, f"{_POD} volumes state emptyDir", {}),
        Mutation(_WORKER, f"{_POD} volumes tmp emptyDir sizeLimit", "256Mb"),
        Mutation(_MASTER, "spec volumeClaimTemplates 0 spec resources requests storage", "-10Gi"),
    ],
    "keys_that_are_read_exist": [
        Lost("Secret/authority"),
        Lost("ConfigMap/federation"),
        Mutation(_WORKER, f"{_OF_WORKER} env FEDTIER_AUDIENCE valueFrom configMapKeyRef key", "AUDIENCE"),
        Mutation(_WORKER, f"{_POD} volumes token secret secretName", "worker-aggregator-token"),
        Mutation(_WORKER, f"{_POD} volumes token secret", more(items=[{"key": "worker.token", "path": "token"}])),
        Mutation(_CLIENT, f"{_OF_CLIENT} envFrom 0 configMapRef name", "client"),
    ],
    "nothing_is_made_that_nobody_reads": [
        Added("Secret", "more", {"data": {"key": ""}}),
        Added("ConfigMap", "more", {"data": {}}),
        Added("ServiceAccount", "more", {}),
    ],
    "accounts_and_claims_exist": [
        Lost("ServiceAccount/client"),
        Mutation(_WORKER, f"{_POD} serviceAccountName", GONE),
        Mutation(_WORKER, f"{_POD} volumes state", {"name": "state", "persistentVolumeClaim": {"claimName": "state"}}),
    ],
    "mounts_have_volumes": [
        Mutation(_WORKER, f"{_POD} volumes tmp name", "temp"),
        Mutation(_MASTER, "spec volumeClaimTemplates 0 metadata name", "data"),
        Mutation(_WORKER, f"{_OF_WORKER} volumeMounts token name", "tmp"),
    ],
    "classes_exist": [
        Lost("PriorityClass/fedtier-servers"),
        Mutation(_MASTER, "spec volumeClaimTemplates 0 spec", more(storageClassName="gp3")),
    ],
    "names_of_hosts_are_services": [
        Mutation(_WORKER, f"{_OF_WORKER} env FEDTIER_MASTER value", "https://master:5000"),
        Mutation(_WORKER, f"{_OF_WORKER} env FEDTIER_MASTER value", "https://master-aggregator"),
        Mutation("ConfigMap/clients", "data FEDTIER_SERVER", "https://worker-aggregator.fedtier.svc:443"),
        Lost("Service/s3"),
    ],
    "services_for_pods_have_the_ports_of_the_pods": [
        Mutation(_MASTER, f"{_OF_MASTER} ports https containerPort", 5002),
        Mutation("Service/s3", "spec ports https targetPort", 18333),
    ],
    "targets_exist": [
        Mutation(_SCALER, "spec scaleTargetRef name", "worker"),
        Mutation(_SCALER, "spec scaleTargetRef kind", "StatefulSet"),
        Mutation(_SCALER, "spec scaleTargetRef apiVersion", "apps/v1beta1"),
        Mutation(_SCALER, "spec maxReplicas", 1),
        Mutation(_WORKER, "spec", more(replicas=2)),
    ],
    "what_is_measured_is_asked_for": [
        Mutation(_WORKER, f"{_OF_WORKER} resources requests cpu", GONE),
        Mutation(_SCALER, "spec metrics 0 resource name", "processors"),
    ],
    "sets_have_a_service_of_their_own": [
        Mutation(_MASTER, "spec serviceName", "master"),
        Mutation(_MASTER, "spec serviceName", "worker-aggregator"),
    ],
    "disruptions_leave_room": [
        Mutation(_BUDGET, "spec maxUnavailable", 0),
        Mutation(_BUDGET, "spec", more(minAvailable=2)),
    ],
    "pods_are_restricted": [
        Mutation("Namespace/fedtier", "metadata labels pod-security.kubernetes.io/enforce", "baseline"),
        Lost("Namespace/fedtier"),
        *(Mutation(_WORKER, _POD, more(**{field: True})) for field in ("hostNetwork", "hostPID", "hostIPC")),
        Mutation(_WORKER, f"{_POD} volumes tmp", {"name": "tmp", "hostPath": {"path": "/tmp"}}),
        Mutation(_WORKER, _CONTEXT, more(sysctls=[{"name": "kernel.msgmax", "value": "1"}])),
        Mutation(_WORKER, _CONTEXT, more(windowsOptions={"hostProcess": True})),
        Mutation(_WORKER, _CONTEXT, more(appArmorProfile={"type": "Unconfined"})),
        Mutation(_WORKER, _CONTEXT, more(seLinuxOptions={"user": "root"})),
        Mutation(_WORKER, _CONTEXT, more(seccompProfile={"type": "Unconfined"})),
        Mutation(_WORKER, f"{_CONTEXT} seccompProfile", GONE),
        Mutation(_WORKER, f"{_CONTEXT} runAsNonRoot", GONE),
        Mutation(_WORKER, f"{_CONTEXT} runAsUser", 0),
        Mutation(_WORKER, f"{_OF_WORKER} securityContext", more(privileged=True)),
        Mutation(_WORKER, f"{_OF_WORKER} securityContext", more(runAsNonRoot=False)),
        Mutation(_WORKER, f"{_OF_WORKER} securityContext", more(runAsUser=0)),
        Mutation(_WORKER, f"{_OF_WORKER} securityContext", more(procMount="Unmasked")),
        Mutation(_WORKER, f"{_OF_WORKER} securityContext", more(seLinuxOptions={"type": "spc_t"})),
        Mutation(_WORKER, f"{_OF_WORKER} securityContext allowPrivilegeEscalation", GONE),
        Mutation(_WORKER, f"{_OF_WORKER} securityContext capabilities drop", ["NET_RAW"]),
        Mutation(_WORKER, f"{_OF_WORKER} securityContext capabilities", more(add=["SYS_ADMIN"])),
        Mutation(_WORKER, f"{_OF_WORKER} ports https", more(hostPort=5001)),
        Mutation(_WORKER, f"{_OF_WORKER} readinessProbe httpGet", more(host="192.0.2.1")),
        Mutation(_CLIENT, f"{_POD} initContainers shard securityContext", GONE),
        Mutation(_MASTER, f"{_POD} initContainers initial-model securityContext capabilities", GONE),
    ],
    "pods_may_do_no_more_than_they_need": [
        Mutation(_WORKER, f"{_POD} automountServiceAccountToken", True),
        Mutation(_CLIENT, f"{_POD} automountServiceAccountToken", GONE),
        Mutation("ServiceAccount/client", "automountServiceAccountToken", GONE),
        Mutation(_MASTER, f"{_POD} enableServiceLinks", GONE),
        Mutation(_MASTER, f"{_OF_MASTER} securityContext readOnlyRootFilesystem", GONE),
        Mutation(_CLIENT, f"{_POD} initContainers shard securityContext readOnlyRootFilesystem", False),
    ],
    "containers_run_commands": [
        Mutation(_MASTER, f"{_OF_MASTER} args", ["masters"]),
        Mutation(_MASTER, f"{_OF_MASTER} args", GONE),
        Mutation(_MASTER, f"{_OF_MASTER}", more(command=["sh", "-c"])),
    ],
    "variables_are_read": [
        Mutation("ConfigMap/federation", "data", more(FEDTIER_TRESHOLD="2")),
        Mutation("ConfigMap/federation", "data", more(AWS_BUCKET="fedtier")),
        Mutation(_WORKER, f"{_OF_WORKER} env", more(name="FEDTIER_ROUNDS", value="3")),
        Mutation(_WORKER, f"{_OF_WORKER} env", more(name="AWS_REGION", value="eu-west-1")),
        Mutation(_MASTER, f"{_OF_MASTER} env", more(name="FEDTIER_TOKEN_FILE", value="/etc/fedtier/token")),
        Mutation(_CLIENT, f"{_OF_CLIENT} env", more(name="FEDTIER_VERIFY_KEYS", value="/etc/fedtier")),
        Mutation(_CLIENT, f"{_OF_CLIENT} env", more(name="FEDTIER_MNIST_MIRRORS", value="")),
        Mutation(_MASTER, f"{_POD} containers tensorboard", more(env=[{"name": "FEDTIER_PORT", "value": "6006"}])),
        Mutation(_WORKER, _OF_WORKER, more(envFrom=[{"configMapRef": {"name": "federation"}}])),
    ],
    "values_are_taken": [
        Mutation("ConfigMap/federation", "data FEDTIER_ROUNDS", "three"),
        Mutation("ConfigMap/federation", "data FEDTIER_CLIENTS", "0"),
        Mutation("ConfigMap/federation", "data FEDTIER_BUCKET_NAME", GONE),
        Mutation("ConfigMap/federation", "data FEDTIER_AUDIENCE", "my federation"),
        Mutation("ConfigMap/data", "data FEDTIER_DATASET", "mnists"),
        Mutation(_WORKER, f"{_OF_WORKER} args", ["worker", "--upstream", "https://master-aggregator:5000"]),
        Mutation(_CLIENT, f"{_OF_CLIENT} env JOB_COMPLETION_INDEX", GONE),
    ],
    "programs_for_others_are_guarded": [
        Mutation(_WORKER, f"{_OF_WORKER} env FEDTIER_VERIFY_KEYS", GONE),
        Mutation(_MASTER, f"{_OF_MASTER} env FEDTIER_CERTFILE", GONE),
        Mutation(_MASTER, f"{_OF_MASTER} env FEDTIER_HOST value", "127.0.0.1"),
        Mutation(_CLIENT, f"{_OF_CLIENT} args", ["client", "--plain-http"]),
    ],
    "listening_ports_are_declared": [
        Mutation(_WORKER, f"{_OF_WORKER} env FEDTIER_PORT value", "5000"),
        Mutation(_MASTER, f"{_OF_MASTER} ports https containerPort", 5001),
    ],
    "paths_lie_on_volumes": [
        Mutation(_WORKER, f"{_OF_WORKER} env FEDTIER_CERTFILE value", "/etc/tls/tls.crt"),
        Mutation(_WORKER, f"{_OF_WORKER} env FEDTIER_CERTFILE value", "/etc/fedtier/tls/tls.pem"),
        Mutation(_WORKER, f"{_OF_WORKER} volumeMounts token mountPath", "/etc/fedtier/tokens"),
        Mutation(_MASTER, f"{_OF_MASTER} args", ["master", "--ca-certs=/etc/ssl/ca.pem"]),
        Mutation("Secret/authority", "data", {"ca.crt": ""}),
    ],
    "written_paths_can_be_written": [
        Mutation(_WORKER, f"{_OF_WORKER} env FEDTIER_STATE_DIR value", "/etc/fedtier/tls"),
        Mutation(_WORKER, f"{_OF_WORKER} volumeMounts state", more(readOnly=True)),
        Mutation(_CLIENT, f"{_OF_CLIENT} volumeMounts tmp mountPath", "/temp"),
    ],
    "parts_of_volumes_are_there": [
        Mutation("Secret/client-tokens", "data client-2.token", GONE),
        Mutation(_CLIENT, "spec completions", 4),
        Mutation(_CLIENT, f"{_OF_CLIENT} volumeMounts tokens subPathExpr", "$(JOB_COMPLETION_INDEX).token"),
    ],
    "pods_end_before_they_are_killed": [
        Mutation(_WORKER, f"{_POD} terminationGracePeriodSeconds", GONE),
        Mutation(_WORKER, f"{_OF_WORKER} env FEDTIER_GRACE value", "80"),
        Mutation(_WORKER, f"{_OF_WORKER} lifecycle preStop", {"exec": {"command": ["sleep", "60"]}}),
        Mutation(_MASTER, f"{_POD} terminationGracePeriodSeconds", 30),
    ],
    "what_is_scaled_down_drains": [
        Mutation(_WORKER, f"{_OF_WORKER} lifecycle", GONE),
    ],
    "images_are_ours_or_pinned": [
        Mutation(_WORKER, f"{_OF_WORKER} image", "fedtier-server:latest"),
        Mutation(_WORKER, f"{_OF_WORKER} image", "fedtier-worker:0.1.0"),
        Mutation("StatefulSet/s3", f"{_POD} containers tls image", "docker.io/library/nginx"),
    ],
    "commands_are_in_their_image": [
        Mutation(_MASTER, f"{_POD} initContainers initial-model image", "fedtier-server:0.1.0"),
        Mutation(_WORKER, f"{_OF_WORKER} image", "fedtier-client:0.1.0"),
    ],
    "secrets_are_files": [
        Mutation(_WORKER, f"{_OF_WORKER} env", more(name="FEDTIER_TOKEN", value="$(TOKEN)")),
        Mutation(_MASTER, f"{_OF_MASTER} env", more(name="AWS_SECRET_ACCESS_KEY", value="")),
        Mutation(_WORKER, f"{_OF_WORKER} env", more(name="T", valueFrom={"secretKeyRef": {"name": "a", "key": "b"}})),
        Mutation(_MASTER, f"{_OF_MASTER} envFrom", more(secretRef={"name": "s3-credentials"})),
        Mutation(_WORKER, f"{_POD} volumes tls secret defaultMode", 0o444),
        Mutation(_WORKER, f"{_POD} volumes tls secret defaultMode", GONE),
    ],
    "every_client_has_a_pod": [
        Mutation("ConfigMap/federation", "data FEDTIER_CLIENTS", "4"),
        Mutation(_CLIENT, "spec completionMode", "NonIndexed"),
        Mutation(_CLIENT, "spec parallelism", 2),
        Mutation(_CLIENT, f"{_OF_CLIENT} env JOB_COMPLETION_INDEX", GONE),
        Mutation(_CLIENT, f"{_OF_CLIENT} env FEDTIER_CLIENT_ID value", "client-0"),
    ],
    "a_client_that_is_stopped_comes_back": [
        Mutation(_CLIENT, f"{_OF_CLIENT} env FEDTIER_STOPPED_STATUS", GONE),
        Mutation(_CLIENT, f"{_OF_CLIENT} env FEDTIER_STOPPED_STATUS value", "2"),
    ],
    "manifests_hold_no_secret": [
        Added("Secret", "token", {"data": {}}),
        Added("ConfigMap", "s3", {"data": {"credentials": "[default]\naws_secret_access_key = x\n"}}),
        Mutation(_MASTER, f"{_OF_MASTER} env", more(name="KEY", value="AKIAIOSFODNN7EXAMPLE")),
        Mutation(_WORKER, f"{_OF_WORKER} args", ["worker", "eyJhbGciOiJFZERTQSJ9.e30.c2ln"]),
        Added("ConfigMap", "tls", {"data": {"tls.key": "-----BEGIN PRIVATE KEY-----\n"}}),
    ],
}

RULES: Final = {rule.__name__: rule for rule in [*ABOUT_EVERYTHING, *ABOUT_THE_REPOSITORY]}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """The overlay that has most, with its Secrets."""
    secrets = secrets_made("minikube", tmp_path_factory.mktemp("credentials") / "minikube")
    return Manifests.parse(built(FOLDER / "overlays" / "minikube")) + secrets


def test_every_rule_is_shown_to_object() -> None:
    assert CASES.keys() == RULES.keys()


@each_of(CASES)
def test_a_rule_objects(name: str, mutation: Mutation | Lost | Added, healthy: Manifests) -> None:
    rule = RULES[name]
    assert set(rule(mutation.of(healthy))) - set(rule(healthy)), "nothing is said of it"
