"""What checkov has to say of the `.tf` files, and what it is not asked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from tests.infra.aws.terraform import ROOT
from tests.infra.linters import failed_checks, skipped_checks

SETTINGS: Final = ROOT / ".checkov.yaml"
_FRAMEWORKS: Final = ["terraform"]


def test_nothing_fails_but_what_is_skipped_for_a_reason() -> None:
    assert failed_checks(ROOT, _FRAMEWORKS) == set()


def test_every_skip_is_needed_and_says_why(tmp_path: Path) -> None:
    skipped = skipped_checks(SETTINGS)
    assert all(len(reason.split()) > 3 for reason in skipped.values()), skipped
    without = tmp_path / "terraform"
    shutil.copytree(ROOT, without, ignore=shutil.ignore_patterns(".terraform*", SETTINGS.name))
    assert {check for check, _ in failed_checks(without, _FRAMEWORKS)} == set(skipped)
