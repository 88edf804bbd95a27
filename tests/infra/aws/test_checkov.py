"""What checkov has to say of the `.tf` files, and what it is not asked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.aws.terraform import ROOT

CHECKOUT: Final = Path(__file__).parents[3]
SETTINGS: Final = ROOT / ".checkov.yaml"
SKIPPED: Final = re.compile(r"^  - (CKV\w+)(?: +# (.+))?$", re.MULTILINE)


@pytest.fixture(scope="module")
def checkov() -> str:
    """The program, which has an environment of its own since it does not suit the project's packages."""
    places = os.pathsep.join([str(CHECKOUT / ".venv-lint" / "bin"), os.environ.get("PATH", "")])
    program = shutil.which("checkov", path=places)
    if program is None:
        pytest.skip("checkov is not installed")
    return program


def failed_checks(program: str, folder: Path) -> set[tuple[str, str]]:
    """Return each check that fails with what fails it; checkov takes the settings that lie in the folder."""
    words = ["--directory", ".", "--framework", "terraform", "--skip-download", "--output", "json"]
    done = subprocess.run([program, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["passed"] > 0, done.stderr
    assert report["summary"]["parsing_errors"] == 0, done.stderr
    return {(failed["check_id"], failed["resource"]) for failed in report["results"]["failed_checks"]}


def test_nothing_fails_but_what_is_skipped_for_a_reason(checkov: str) -> None:
    assert failed_checks(checkov, ROOT) == set()


def test_every_skip_is_needed_and_says_why(checkov: str, tmp_path: Path) -> None:
    skipped = dict(SKIPPED.findall(SETTINGS.read_text()))
    assert all(len(reason.split()) > 3 for reason in skipped.values()), skipped
    without = tmp_path / "terraform"
    shutil.copytree(ROOT, without, ignore=shutil.ignore_patterns(".terraform*", SETTINGS.name))
    assert {check for check, _ in failed_checks(checkov, without)} == set(skipped)
