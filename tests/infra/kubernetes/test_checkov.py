"""What checkov has to say of the overlays and of the Dockerfile, and what it is not asked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.infra.kubernetes.kustomize import FOLDER, OVERLAYS, built
from tests.infra.linters import failed_checks, skipped_checks
from tests.infra.programs import CHECKOUT

SETTINGS: Final = FOLDER / ".checkov.yaml"
_FRAMEWORKS: Final = ["kubernetes", "dockerfile"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all that checkov is to see."""
    for overlay in OVERLAYS:
        (tmp_path / f"{overlay}.yaml").write_text(built(FOLDER / "overlays" / overlay))
    shutil.copy(CHECKOUT / "Dockerfile", tmp_path)
    return tmp_path


def test_nothing_fails_but_what_is_skipped_for_a_reason(folder: Path) -> None:
    shutil.copy(SETTINGS, folder)
    assert failed_checks(folder, _FRAMEWORKS) == set()


def test_every_skip_is_needed_and_says_why(folder: Path) -> None:
    skipped = skipped_checks(SETTINGS)
    assert all(len(reason.split()) > 3 for reason in skipped.values()), skipped
    assert {check for check, _ in failed_checks(folder, _FRAMEWORKS)} == set(skipped)
