"""`secrets.sh` makes exactly the Secrets that an overlay's pods read, and no key in them that signs."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from tests.infra.kubernetes.kustomize import FOLDER
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.rules.references import keys_that_are_read_exist, nothing_is_made_that_nobody_reads
from tests.infra.kubernetes.secrets_made import secrets_made
from tests.infra.programs import CHECKOUT


def values(secrets: Manifests) -> dict[tuple[str, str], bytes]:
    """Return what every key of every Secret holds."""
    return {
        (one["metadata"]["name"], key): base64.b64decode(value)
        for one in secrets.objects
        for key, value in one["data"].items()
    }


def test_an_overlay_reads_all_that_is_made_and_nothing_else(manifests: Manifests, secrets: Manifests) -> None:
    assert {one["kind"] for one in secrets.objects} == {"Secret"}
    assert list(keys_that_are_read_exist(manifests + secrets)) == []
    assert list(nothing_is_made_that_nobody_reads(manifests + secrets)) == []


def test_certificates_are_of_the_kind_that_kubernetes_checks(secrets: Manifests) -> None:
    kinds = {one["metadata"]["name"]: one.get("type", "Opaque") for one in secrets.objects}
    assert {name for name, kind in kinds.items() if kind == "kubernetes.io/tls"} == {
        name for name in kinds if name.endswith("-tls")
    }


def test_no_secret_holds_a_key_that_signs(tmp_path: Path) -> None:
    held = values(secrets_made("minikube", tmp_path / "secrets")).values()
    for name in ("keys/signing-key.pem", "authority/ca-key.pem", "tokens/operator.token"):
        secret = (tmp_path / "secrets" / name).read_bytes().strip()
        assert not [value for value in held if secret in value], name


def test_making_them_again_changes_nothing(tmp_path: Path) -> None:
    once = values(secrets_made("eks", tmp_path / "secrets"))
    assert values(secrets_made("eks", tmp_path / "secrets")) == once


def test_they_are_never_committed() -> None:
    kept = FOLDER / "secrets" / "fedtier" / "keys" / "signing-key.pem"
    done = subprocess.run(["git", "check-ignore", "--quiet", str(kept)], cwd=CHECKOUT, check=False)
    if done.returncode == 128:
        pytest.skip("this checkout is none of git's")
    assert done.returncode == 0
