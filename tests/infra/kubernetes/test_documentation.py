"""What docs/kubernetes.md has its readers type is what the manifests need."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from master_aggregator.command import master
from tests.infra.kubernetes.kustomize import FOLDER, built
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.quantities import quantity
from tests.infra.programs import CHECKOUT

_PAGE: Final = (CHECKOUT / "docs" / "kubernetes.md").read_text()
_SYSTEM: Final = {"cpu": quantity("1100m"), "memory": quantity("600Mi")}
"""What Kubernetes, Calico and metrics-server ask for on minikube's node, and somewhat more memory."""


def overlays() -> dict[str, str]:
    """Return the overlays that are the reader's to make, by their folders' names."""
    found = re.findall(r"```yaml\n(# infra/kubernetes/overlays/(\S+)/kustomization\.yaml\n.*?)```", _PAGE, re.DOTALL)
    return {name: text for text, name in found}


@pytest.fixture(params=["minikube", "eks"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Manifests]:
    """What the reader's overlays make of one of ours; those of the page are of `eks`."""
    (tmp_path / "overlays").mkdir()
    for name in ("base", "overlays/eks", "overlays/minikube"):
        (tmp_path / name).symlink_to(FOLDER / name)
    found = {}
    for name, text in overlays().items():
        (tmp_path / "overlays" / name).mkdir()
        (tmp_path / "overlays" / name / "kustomization.yaml").write_text(text.replace("../eks", f"../{request.param}"))
        found[name] = Manifests.parse(built(tmp_path / "overlays" / name))
    return found


@pytest.mark.parametrize(("resource", "flag"), [("cpu", "cpus"), ("memory", "memory")])
def test_all_pods_have_room_on_the_minikube_of_the_page(resource: str, flag: str) -> None:
    manifests = Manifests.parse(built(FOLDER / "overlays" / "minikube"))
    (size,) = re.findall(rf"^ *minikube start .*--{flag} (\w+)", _PAGE, re.MULTILINE)
    room = quantity(size.replace("g", "Gi")) - _SYSTEM[resource]
    (scaler,) = manifests.of("HorizontalPodAutoscaler")
    counts = {"worker-aggregator": int(scaler["spec"]["minReplicas"]) + 1}  # one comes before one goes
    wanted = sum(pod.asks_for(resource) * counts.get(pod.name, pod.count) for pod in manifests.pods)
    assert wanted <= room


def test_data_of_ones_own_come_from_a_volume(made: dict[str, Manifests]) -> None:
    pod = made["own-data"].pods_of("clients")
    assert [one.name for one in pod.all_containers] == ["client"]
    (client,) = pod.containers
    (data,) = (one["value"] for one in client.spec["env"] if one["name"] == "FEDTIER_DATA")
    (mount,) = (one for one in client.mounts if one["name"] == "shards")
    assert (mount["mountPath"], mount["readOnly"]) == (data, True)
    assert pod.volumes["shards"] == {
        "name": "shards",
        "persistentVolumeClaim": {"claimName": "shards", "readOnly": True},
    }
    assert {one["name"] for one in client.mounts} == set(pod.volumes)
    assert made["own-data"].named("NetworkPolicy", "mnist") is None


def test_a_federation_of_clients_elsewhere_has_none_in_the_cluster(made: dict[str, Manifests]) -> None:
    manifests = made["clients-elsewhere"]
    assert manifests.of("Job") == []
    settings = manifests.named("ConfigMap", "federation")
    assert settings is not None
    assert "FEDTIER_CLIENTS" not in settings["data"]  # else the master asks for client-0 and so on
    given = {name: value for name, value in settings["data"].items() if name.startswith("FEDTIER_")}
    known = {parameter.envvar for parameter in master.params}
    assert given.keys() <= known | {"FEDTIER_" + str(parameter.name).upper() for parameter in master.params}
    assert int(given["FEDTIER_MIN_CLIENTS"]) <= int(given["FEDTIER_THRESHOLD"])
