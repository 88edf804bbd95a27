"""The schemas of the newest versions of Kubernetes, which know an object to its last field."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

from tests.infra.linters import linter

_VERSIONS: Final = "from kubernetes_validate.utils import all_versions; print(*dict.fromkeys(all_versions()))"


@cache
def newest_minors() -> list[str]:
    """Return the two newest versions whose schemas are at hand."""
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
