"""What kustomize makes of each overlay is what the newest versions of Kubernetes know, to the last field."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.infra.kubernetes.kustomize import FOLDER, OVERLAYS, built
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.linters import linter

_VERSIONS: Final = "from kubernetes_validate.utils import all_versions; print(*dict.fromkeys(all_versions()))"


@pytest.fixture(scope="module")
def newest_minors() -> list[str]:
    """The two newest versions whose schemas are at hand."""
    interpreter = Path(linter("kubernetes-validate")).with_name("python")
    done = subprocess.run([interpreter, "-c", _VERSIONS], capture_output=True, text=True, check=True)
    minors = [version.rpartition(".")[0] for version in done.stdout.split()]
    return list(dict.fromkeys(minors))[-2:]


def validated(text: str, minor: str, folder: Path) -> tuple[int, str]:
    """Return how many objects the strict schemas of a version take, and all else that is said."""
    file = folder / "objects.yaml"
    file.write_text(text)
    words = [linter("kubernetes-validate"), "--strict", "--kubernetes-version", minor, str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    said = (done.stdout + done.stderr).splitlines()
    passed = [line for line in said if re.fullmatch(rf"INFO .* against version {re.escape(minor)}", line)]
    return len(passed), "\n".join(line for line in said if line not in passed)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_two_minors_take_every_object_without_a_warning(overlay: str, newest_minors: list[str], tmp_path: Path) -> None:
    text = built(FOLDER / "overlays" / overlay)
    assert len(set(newest_minors)) == 2
    for minor in newest_minors:
        assert validated(text, minor, tmp_path) == (len(Manifests.parse(text).objects), "")


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("kind: Service\nspec: {ports: [{port: 5000, targetport: https}]}", "targetport"),
        ("kind: Service\nspec: {ports: [{port: none}]}", "none"),
        ("kind: Servise\nspec: {}", "WARN"),
    ],
    ids=["a field that there is not", "a value of another type", "a kind that there is not"],
)
def test_what_is_no_object_of_kubernetes_is_found(
    broken: str, complaint: str, newest_minors: list[str], tmp_path: Path
) -> None:
    passed, said = validated(f"apiVersion: v1\nmetadata: {{name: broken}}\n{broken}\n", newest_minors[-1], tmp_path)
    assert passed == 0
    assert complaint in said


def test_a_warning_of_kustomize_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("commonLabels: {a: b}\n")
    with pytest.raises(AssertionError, match="deprecated"):
        built(tmp_path)
