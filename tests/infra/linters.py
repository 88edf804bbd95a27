"""Linters with an environment of their own, since they do not suit the project's packages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.programs import CHECKOUT

_SKIPPED: Final = re.compile(r"^  - (CKV\w+)(?: +# (.+))?$", re.MULTILINE)


def linter(name: str) -> str:
    """Return a program of `.venv-lint` or of PATH; a test that wants one that there is not is skipped."""
    places = os.pathsep.join([str(CHECKOUT / ".venv-lint" / "bin"), os.environ.get("PATH", "")])
    program = shutil.which(name, path=places)
    if program is None:
        pytest.skip(f"{name} is not installed; ./test.sh installs it")
    return program


def failed_checks(folder: Path, frameworks: Sequence[str]) -> set[tuple[str, str]]:
    """Return each check of checkov that fails with what fails it; checkov takes the settings that lie in the folder."""
    words = ["--directory", ".", "--framework", *frameworks, "--skip-download", "--output", "json"]
    done = subprocess.run(
        [linter("checkov"), *words], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    said = json.loads(done.stdout)
    reports: list[dict[str, Any]] = said if isinstance(said, list) else [said]
    assert len(reports) == len(frameworks), done.stderr
    for report in reports:
        assert report["summary"]["passed"] > 0, done.stderr
        assert report["summary"]["parsing_errors"] == 0, done.stderr
    failures = [failed for report in reports for failed in report["results"]["failed_checks"]]
    return {(failed["check_id"], failed["resource"]) for failed in failures}


def skipped_checks(settings: Path) -> dict[str, str]:
    """Return what checkov is not asked, each with the reason."""
    return dict(_SKIPPED.findall(settings.read_text()))
