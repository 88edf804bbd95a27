"""What a run has in the cluster: by the schemas of Kubernetes, by the rules for manifests, and by its settings."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
import yaml

from client.task import BUILT_IN
from fedtier.problems import StartupError
from infra.kubeflow.steps.objects import INSTANCE, PORTS, address_of, labels, owned, run_name, server_names, services
from infra.kubeflow.steps.server_secrets import secret_files, secret_names
from tests.infra.kubeflow.runs import RUN, all_objects, settings
from tests.infra.kubeflow.scripted import NAMESPACE, RBAC
from tests.infra.kubernetes.catalogue import ABOUT_EVERYTHING, Rule
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.programs import programs_of
from tests.infra.kubernetes.rules import jobs
from tests.infra.kubernetes.schemas import newest_minors, validated
from tests.infra.kubernetes.test_checkov import SETTINGS
from tests.infra.linters import failed_checks

_THERE: Final = (
    {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    },
    {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": NAMESPACE},
        "automountServiceAccountToken": False,
    },
)
"""What a namespace has before any run."""
_RULES: Final = [rule for rule in ABOUT_EVERYTHING if rule is not jobs.every_client_has_a_pod]
"""Clients are tasks of the pipeline, and the only Job is the master's."""


def manifests(**changed: object) -> Manifests:
    return Manifests((*_THERE, *all_objects(settings(**changed))))


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: rule.__name__)
def test_a_rule_of_all_manifests_holds(rule: Rule) -> None:
    assert list(rule(manifests())) == []


def test_two_minors_of_kubernetes_take_every_object(tmp_path: Path) -> None:
    made = all_objects(settings())
    for minor in newest_minors():
        assert validated(yaml.safe_dump_all(made), minor, tmp_path) == (len(made), "")


def test_nothing_fails_by_checkov_but_what_is_skipped_everywhere(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump_all(all_objects(settings())))
    shutil.copy(RBAC, tmp_path)
    shutil.copy(SETTINGS, tmp_path)
    assert failed_checks(tmp_path, ["kubernetes"]) == set()


def test_everything_is_found_by_the_name_of_its_run() -> None:
    for one in all_objects(settings()):
        assert one["metadata"]["labels"][INSTANCE] == RUN
        assert one["metadata"]["labels"]["app.kubernetes.io/name"] == "fedtier"
        assert f"{one['metadata']['name']}-".startswith(f"{RUN}-")
        assert one["metadata"]["namespace"] == NAMESPACE


def test_pods_are_found_by_it_too_and_get_no_sidecar() -> None:
    for pod in manifests().pods:
        assert pod.labels[INSTANCE] == RUN
        assert pod.labels["sidecar.istio.io/inject"] == "false"


def test_two_runs_of_one_namespace_share_nothing() -> None:
    one, other = (
        {(one["kind"], one["metadata"]["name"]) for one in all_objects(settings(run=run_name(run_id)))}
        for run_id in ("0f5bd0c3-1f10-4c2d-9d1e-7c0e0d1b9c55", "0f5bd0c3-1f11-4c2d-9d1e-7c0e0d1b9c55")
    )
    assert not one & other


def test_services_select_their_own_run_alone() -> None:
    for service in services(settings()):
        assert service["spec"]["selector"].items() >= {INSTANCE: RUN}.items()


def test_servers_are_reached_from_their_namespace_alone_and_from_all_of_it() -> None:
    (policy,) = manifests().of("NetworkPolicy")
    assert manifests().selected(policy["spec"]["podSelector"], NAMESPACE) == [
        f"{RUN}-{name}" for name in ("s3", "master-aggregator", "worker-aggregator")
    ]
    (ingress,) = policy["spec"]["ingress"]
    assert ingress["from"] == [{"podSelector": {}}]
    assert {pod.ports[port["port"]] for pod in manifests().pods for port in ingress["ports"]} == set(PORTS.values())


@pytest.mark.parametrize(
    ("run_id", "name"),
    [
        ("0f5bd0c3-1f10-4c2d-9d1e-7c0e0d1b9c55", "fedtier-0f5bd0c31f10"),
        ("0F5BD0C3-1F10-4C2D-9D1E-7C0E0D1B9C55", "fedtier-0f5bd0c31f10"),
        ("Local_Run.2026-11-26", "fedtier-localrun2026"),
    ],
)
def test_a_run_is_named_by_the_first_of_its_id(run_id: str, name: str) -> None:
    assert run_name(run_id) == name


@pytest.mark.parametrize("run_id", ["", "a", "A-b", "läuft"])
def test_a_short_id_is_filled_up_to_a_name_of_its_own(run_id: str) -> None:
    assert len(run_name(run_id)) == len("fedtier-") + 12
    assert run_name(run_id).isascii()
    assert run_name(run_id) != run_name(f"{run_id}-")


def test_addresses_have_names_that_certificates_have() -> None:
    wanted = settings()
    for component, port in PORTS.items():
        parts = urlsplit(address_of(component, wanted))
        assert (parts.scheme, parts.port) == ("https", port)
        assert parts.hostname in server_names(component, wanted)
        assert parts.hostname == f"{RUN}-{component}.{NAMESPACE}.svc"


@pytest.mark.parametrize("task", BUILT_IN)
def test_the_master_is_told_how_its_task_is_trained(task: str) -> None:
    (master,) = (one for one in programs_of(manifests(task=task)) if one.container.name == "master-aggregator")
    told, meant = master.settings, BUILT_IN[task].settings
    assert told["epoch"] == 2
    assert {name: told[name] for name in ("batch_size", "lr", "optimizer", "momentum", "weight_decay", "prox_mu")} == {
        "batch_size": meant.batch_size,
        "lr": meant.lr,
        "optimizer": meant.optimizer,
        "momentum": meant.momentum,
        "weight_decay": meant.weight_decay,
        "prox_mu": meant.prox_mu,
    }
    assert told["bucket_key"] == f"jobs/{task}.safetensors"


def test_the_master_is_told_of_its_clients_and_ends_with_the_last_round() -> None:
    (master,) = (one for one in programs_of(manifests(clients=5)) if one.container.name == "master-aggregator")
    told = master.settings
    assert (told["clients"], told["min_clients"], told["deadline"], told["rounds"]) == (5, 1, 3600, 3)
    assert (told["exit_when_finished"], told["stopped_status"]) == (True, 143)
    assert master.pod.maker == f"Job/{RUN}-master-aggregator"
    assert master.pod.spec["restartPolicy"] == "OnFailure"


def test_a_volume_never_has_two_pods() -> None:
    store, master = manifests().named("Deployment", f"{RUN}-s3"), manifests().named("Job", f"{RUN}-master-aggregator")
    assert store is not None
    assert master is not None
    assert (store["spec"]["replicas"], store["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert (master["spec"]["parallelism"], master["spec"]["podReplacementPolicy"]) == (1, "Failed")
    with_claims = {pod.maker for pod in manifests().pods if "persistentVolumeClaim" in str(pod.spec["volumes"])}
    assert with_claims == {f"Deployment/{RUN}-s3", f"Job/{RUN}-master-aggregator"}


def test_workers_find_the_master_also_while_it_is_not_ready() -> None:
    found = {one["metadata"]["name"] for one in services(settings()) if one["spec"].get("publishNotReadyAddresses")}
    assert found == {f"{RUN}-master-aggregator"}


def test_all_servers_of_a_run_take_tokens_of_this_run_alone() -> None:
    audiences = {program.environment.get("FEDTIER_AUDIENCE") for program in programs_of(manifests())}
    assert audiences == {RUN, None}  # S3 takes none


def test_containers_get_what_the_settings_say() -> None:
    chosen = {"cpu_request": "123m", "cpu_limit": "3", "memory_request": "1234Mi", "memory_limit": "5Gi"}
    for program in programs_of(manifests(**chosen)):
        resources = program.container.spec["resources"]
        assert (resources["requests"]["cpu"], resources["limits"]["cpu"]) == ("123m", "3")
        assert (resources["requests"]["memory"], resources["limits"]["memory"]) == ("1234Mi", "5Gi")


def test_volumes_images_and_workers_are_those_of_the_settings() -> None:
    found = manifests(
        storage_size="7Gi", workers=3, server_image="here/fedtier-server:0.1.0", nginx_image="here/nginx:1"
    )
    claims = found.of("PersistentVolumeClaim")
    assert [claim["spec"]["resources"]["requests"]["storage"] for claim in claims] == ["7Gi", "7Gi"]
    images = {container.image for pod in found.pods for container in pod.containers}
    assert images == {"here/fedtier-server:0.1.0", "here/nginx:1"}
    assert found.pods_of(f"{RUN}-worker-aggregator").count == 3


def test_no_secret_holds_what_signs_or_what_others_prove_themselves_with() -> None:
    assert set(secret_files()) == {
        "authority/ca.pem",
        "keys/verify-key.pem",
        "s3.json",
        "tokens/worker-worker-aggregator.token",
        *(f"servers/{component}{end}.pem" for component in PORTS for end in ("", "-key")),
    }


def test_secrets_are_deleted_by_the_names_that_they_are_made_with() -> None:
    made = [one["metadata"]["name"] for one in all_objects(settings()) if one["kind"] == "Secret"]
    assert sorted(made) == sorted(secret_names(RUN))


def test_what_an_object_is_named_after_is_made_before_it() -> None:
    kinds = [one["kind"] for one in all_objects(settings())]
    last = {kind: max(index for index, one in enumerate(kinds) if one == kind) for kind in ("Service", "Secret")}
    first = min(kinds.index(kind) for kind in ("Deployment", "Job"))
    assert all(before < after for before, after in pairwise([last["Service"], last["Secret"], first]))


def test_an_object_goes_with_its_owner_and_does_not_hold_it_up() -> None:
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "federation-x", "uid": "u"}
    (service, *_) = services(settings())
    given = owned(service, owner | {"controller": True, "blockOwnerDeletion": True})
    assert given["metadata"]["ownerReferences"] == [owner]
    assert given["metadata"]["labels"] == labels(RUN, "s3")
    assert "ownerReferences" not in service["metadata"]
    assert owned(service, None) == service


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"task": "mnist"}, "TASK is 'mnist', wanted one of mnist_cnn"),
        ({"clients": 0}, "NUM_OF_CLIENTS is 0"),
        ({"rounds": 0}, "ROUNDS is 0"),
        ({"epochs": -1}, "EPOCHS is -1"),
        ({"workers": 0}, "WORKERS is 0"),
        ({"min_clients": 0}, "MIN_CLIENTS is 0"),
        ({"deadline": 0}, "DEADLINE is 0"),
        ({"min_clients": 3}, "MIN_CLIENTS is 3, more than NUM_OF_CLIENTS, 2"),
        ({"namespace": "Team A"}, "'Team A' is no name of a namespace"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(changed: dict[str, object], complaint: str) -> None:
    with pytest.raises(StartupError, match=complaint):
        settings(**changed)
