"""What the user of a cluster does: settings in an overlay of their own, and Secrets by the script for them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.infra.kubernetes.kustomize import built
from tests.infra.kubernetes.secrets_made import secrets_script
from tests.infra.programs import CHECKOUT

CLIENTS = 3
_NAME = "fedtier"
_SPLIT = {"PARTITION": "uniform", "N_DATA": "100", "SEED": "7"}
"""Real MNIST; a part of it, since what is shown does not depend on how much there is."""


class Federation:
    """A federation's manifests in a copy of the checkout's, where its secrets are made, too.

    Parameters
    ----------
    folder : Path
        Where the copy is made.
    rounds : int
        The last round.
    """

    def __init__(self, folder: Path, rounds: int) -> None:
        self._rounds = rounds
        self._manifests = folder / "infra" / "kubernetes"
        shutil.copytree(
            CHECKOUT / "infra" / "kubernetes", self._manifests, ignore=lambda place, names: {"secrets"} & set(names)
        )
        (folder / "scripts").mkdir()
        shutil.copy(CHECKOUT / "scripts" / "setup.sh", folder / "scripts")

    @property
    def authority(self) -> Path:
        """The certificate by which its servers are believed."""
        return self._manifests / "secrets" / _NAME / "authority" / "ca.pem"

    @property
    def operator_token(self) -> Path:
        """The token of who operates it."""
        return self._manifests / "secrets" / _NAME / "tokens" / "operator.token"

    def training(self) -> list[str]:
        """Return the flags by which ``fedtier train`` does the same on this machine."""
        split = [word for name, value in _SPLIT.items() for word in (f"--{name.lower().replace('_', '-')}", value)]
        return ["--clients", str(CLIENTS), "--round", str(self._rounds), "--epoch", "1", *split]

    def objects(self, mirror: str) -> list[Mapping[str, Any]]:
        """Return all that is applied; `mirror` is where pods find MNIST."""
        data = {f"FEDTIER_{name}": value for name, value in _SPLIT.items()}
        own = {
            "federation": {"FEDTIER_ROUNDS": str(self._rounds)},
            "data": {**data, "FEDTIER_MNIST_MIRRORS": mirror},
        }
        overlay = self._manifests / "overlays" / "own"
        overlay.mkdir()
        (overlay / "kustomization.yaml").write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "kustomize.config.k8s.io/v1beta1",
                    "kind": "Kustomization",
                    "resources": ["../minikube"],
                    "patches": [{"patch": yaml.safe_dump(_settings(name, values))} for name, values in own.items()],
                }
            )
        )
        made = secrets_script("--print", folder=self._manifests)
        assert made.returncode == 0, made.stderr
        return [document for document in yaml.safe_load_all(f"{made.stdout}\n---\n{built(overlay)}") if document]


def _settings(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "fedtier"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(values)}
