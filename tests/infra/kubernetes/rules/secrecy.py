"""No manifest holds a secret, and secrets reach programs as files that only these can read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from tests.infra.kubernetes.manifests import Manifests, where
from tests.infra.kubernetes.pods import Pod

_LOOKS_SECRET: Final = re.compile(
    r"(?:AKIA|ASIA)[A-Z0-9]{16}|PRIVATE KEY|eyJ[A-Za-z0-9_-]{8,}\.|aws_secret_access_key|\"secret_key\"", re.IGNORECASE
)
_CARRIES_SECRET: Final = re.compile(r"(?:FEDTIER_(?:TOKEN|SIGNING_KEY)|AWS_\w*(?:KEY|SECRET|SESSION_TOKEN)\w*)")
_WIDEST: Final = 0o440


def manifests_hold_no_secret(manifests: Manifests) -> Iterator[str]:
    """No Secret, no key, no token, nowhere in what is applied from the repository."""
    for one in manifests.objects:
        if one["kind"] == "Secret":
            yield f"{where(one)} lies in the manifests"
        found = _LOOKS_SECRET.search(json.dumps(one))
        if found:
            yield f"{where(one)} holds {found[0]!r}"


def secrets_are_files(manifests: Manifests) -> Iterator[str]:
    """No variable holds a secret, and files of secrets are for their program alone."""
    for pod in manifests.pods:
        for container in pod.all_containers:
            for source in container.spec.get("envFrom", []):
                if "secretRef" in source:
                    yield f"{container.where} has the variables of Secret/{source['secretRef']['name']}"
            for variable in container.spec.get("env", []):
                if "secretKeyRef" in variable.get("valueFrom", {}) or _CARRIES_SECRET.fullmatch(variable["name"]):
                    yield f"{container.where} has a secret in variable {variable['name']}"
        yield from _open_files(pod)


def _open_files(pod: Pod) -> Iterator[str]:
    for name, volume in pod.volumes.items():
        source = volume.get("secret") or volume.get("projected") or {}
        holds = "secret" in volume or any("secret" in one for one in source.get("sources", []))
        if holds and source.get("defaultMode", 0o644) & ~_WIDEST:
            yield f"{pod.maker}, volume {name} has secrets that others can read"
