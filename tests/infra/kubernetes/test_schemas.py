"""What kustomize makes of each overlay is what the newest versions of Kubernetes know, to the last field."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra.kubernetes.kustomize import FOLDER, OVERLAYS, built
from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.schemas import newest_minors, validated


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_two_minors_take_every_object_without_a_warning(overlay: str, tmp_path: Path) -> None:
    text = built(FOLDER / "overlays" / overlay)
    assert len(set(newest_minors())) == 2
    for minor in newest_minors():
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
def test_what_is_no_object_of_kubernetes_is_found(broken: str, complaint: str, tmp_path: Path) -> None:
    passed, said = validated(f"apiVersion: v1\nmetadata: {{name: broken}}\n{broken}\n", newest_minors()[-1], tmp_path)
    assert passed == 0
    assert complaint in said


def test_a_warning_of_kustomize_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("commonLabels: {a: b}\n")
    with pytest.raises(AssertionError, match="deprecated"):
        built(tmp_path)
